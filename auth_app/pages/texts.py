"""Define every text of the pages, by name. PAGE_TEXTS_FILE can replace any of them, for a translation."""

import json
from pathlib import Path

from auth_app.accounts.password_rules import MAXIMUM_LENGTH, MINIMUM_LENGTH
from flask_resource_server.exceptions import ConfigurationError

TEXTS = {
    "language": "en",
    "direction": "ltr",
    "sign_in": "Sign in",
    "sign_in_to": "to continue to {application}",
    "username": "User name",
    "password": "Password",
    "wrong_credentials": "Incorrect user name or password.",
    "too_many_attempts": "Too many failed attempts. Seconds until you can try again: {seconds}.",
    "unavailable": "The service is busy. Try again in a few seconds.",
    "form_expired": "This page has expired, or your browser blocks cookies. Try again.",
    "change_password": "Change password",
    "cancel": "Cancel",
    "must_change_password": "An administrator has set your password. Choose a new one to continue.",
    "current_password": "Current password",
    "new_password": "New password",
    "new_password_hint": f"At least {MINIMUM_LENGTH} characters. A long phrase is stronger than symbols.",
    "repeat_password": "Repeat new password",
    "passwords_differ": "The new passwords do not match.",
    "wrong_password": "The current password is incorrect.",
    "password_too_short": f"The new password must have at least {MINIMUM_LENGTH} characters.",
    "password_too_long": f"The new password must have at most {MAXIMUM_LENGTH} characters.",
    "password_is_username": "The new password must not be your user name.",
    "password_is_common": "The new password is too common. Choose another one.",
    "password_is_current": "The new password must be different from the current one.",
    "password_changed": "Your password has been changed, and you have been signed out everywhere else.",
    "account": "Your account",
    "signed_in_as": "Signed in as {username}",
    "name": "Name",
    "email": "Email",
    "roles": "Roles",
    "sign_ins": "Where you are signed in",
    "this_browser": "This browser",
    "another_browser": "Another browser",
    "without_browser": "Signed in with a password",
    "signed_in_to_application": "Signed in to an application",
    "applications": "Applications",
    "since": "Since",
    "last_used": "Last used",
    "address": "IP address",
    "sign_out": "Sign out",
    "sign_out_others": "Sign out everywhere else",
    "signed_out_others": "You have been signed out everywhere else.",
    "sign_in_ended": "You have been signed out there.",
    "confirm_sign_out": "Do you want to sign out?",
    "confirm_sign_out_hint": "This signs you out of all applications in this browser.",
    "stay_signed_in": "Stay signed in",
    "signed_out": "You are signed out",
    "signed_out_hint": "You can close this page, or sign in again.",
    "continue": "Continue",
    "continue_to": "Continue to {application}",
    "error_title": "Error",
    "error": "Something went wrong",
    "error_hint": "Go back to the application and try again. If the problem persists, contact its support.",
}


def read_texts(path: Path | None) -> dict[str, str]:
    """Return the texts, overridden by those in a JSON file if given. Raises `ConfigurationError`."""
    if path is None:
        return TEXTS
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"PAGE_TEXTS_FILE: {path} cannot be read as JSON: {error}") from None
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise ConfigurationError(f"PAGE_TEXTS_FILE: {path} must be a JSON object whose values are strings")
    if unknown := given.keys() - TEXTS.keys():
        raise ConfigurationError(
            f"PAGE_TEXTS_FILE: {path} has the unknown key {min(unknown)!a}: "
            "auth_app/pages/texts.py lists the known ones"
        )
    return TEXTS | given
