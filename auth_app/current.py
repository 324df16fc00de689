"""Find what belongs to the application that handles the current request or command."""

from flask import current_app

from auth_app.settings import AuthSettings


def current_settings() -> AuthSettings:
    """Return the settings of the current application."""
    settings: AuthSettings = current_app.extensions["settings"]
    return settings
