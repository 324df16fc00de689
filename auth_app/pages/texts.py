"""Every text of the pages, in one place: PAGE_TEXTS_FILE replaces any of them, for another language."""

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
    "wrong_credentials": "The user name or the password is wrong.",
    "too_many_attempts": "Too many sign-ins have failed. Seconds until you can try again: {seconds}.",
    "unavailable": "Signing in does not work at the moment. Try again in a few seconds.",
    "form_expired": "This page was open for too long, or your browser refuses cookies. Try again.",
    "change_password": "Change password",
    "cancel": "Cancel",
    "must_change_password": "An administrator has set your password. Choose a new one to go on.",
    "current_password": "Current password",
    "new_password": "New password",
    "new_password_hint": f"At least {MINIMUM_LENGTH} characters. A long phrase beats odd characters.",
    "repeat_password": "New password again",
    "passwords_differ": "The two new passwords are not the same.",
    "wrong_password": "The current password is wrong.",
    "password_too_short": f"The new password must have {MINIMUM_LENGTH} characters or more.",
    "password_too_long": f"The new password must have {MAXIMUM_LENGTH} characters or fewer.",
    "password_is_username": "The new password must not be the user name.",
    "password_is_common": "The new password is one of the most common: choose another one.",
    "password_is_current": "The new password must not be the current one.",
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
    "address": "From",
    "sign_out": "Sign out",
    "sign_out_others": "Sign out everywhere else",
    "signed_out_others": "You have been signed out everywhere else.",
    "sign_in_ended": "That sign-in has ended.",
    "confirm_sign_out": "Do you want to sign out?",
    "confirm_sign_out_hint": "This signs you out of every application that you have opened in this browser.",
    "stay_signed_in": "Stay signed in",
    "signed_out": "You are signed out",
    "signed_out_hint": "You can close this page, or sign in again.",
    "continue": "Continue",
    "continue_to": "Continue to {application}",
    "error_title": "Error",
    "error": "This did not work",
    "error_hint": "Go back to the application and try again. If it happens again, tell its operator.",
}


def read_texts(path: Path | None) -> dict[str, str]:
    """Return the texts, with those of a JSON file in the place of ours. Raises `ConfigurationError`."""
    if path is None:
        return TEXTS
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"PAGE_TEXTS_FILE: {path} cannot be read as JSON: {error}") from None
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise ConfigurationError(f"PAGE_TEXTS_FILE: {path} must be an object whose values are texts")
    if unknown := given.keys() - TEXTS.keys():
        raise ConfigurationError(f"PAGE_TEXTS_FILE: {path} has the unknown text {min(unknown)!a}")
    return TEXTS | given
