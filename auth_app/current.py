"""Find the settings and public keys of the current Flask application."""

from flask import current_app

from auth_app.settings import AuthSettings
from flask_resource_server.tokens.public_keys import PublicKeys


def current_settings() -> AuthSettings:
    """Return the settings of the current application."""
    settings: AuthSettings = current_app.extensions["settings"]
    return settings


def current_public_keys() -> PublicKeys:
    """Return the published keys without the revoked ones."""
    public_keys: PublicKeys = current_app.extensions["public_keys"]
    return public_keys
