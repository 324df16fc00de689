"""The OAuth 2.0 and OpenID Connect server: `create_app` registers its routes, pages and commands."""

from flask import Flask
from sqlalchemy import select

from auth_app import audit, cli, database, users_api
from auth_app.accounts import passwords
from auth_app.accounts.permissions import remaining_scopes
from auth_app.accounts.sessions import is_revoked
from auth_app.keys.revoked_keys import RevokedKeys, UnrevokedKeys
from auth_app.keys.signing_key import open_signing_key
from auth_app.models import User
from auth_app.oauth import (
    authorize,
    backchannel_logout,
    introspect,
    logout,
    revoke,
    status_lists,
    token,
    userinfo,
    well_known,
)
from auth_app.pages import account, rendering, sign_in
from auth_app.settings import AuthSettings
from flask_resource_server import ResourceServer
from flask_resource_server.tokens import TrustedIssuer, Verifier
from flask_resource_server.tokens.public_keys import open_keys
from shared import service
from shared.logs import init_logs
from shared.settings import load_settings
from shared.startup import add_check, refusal

# The paths that CORS_ORIGINS opens to scripts. Not /introspect, because it needs a client's secret.
API_PATHS = ("/token", "/userinfo", "/revoke", "/users(/.*)?")


def create_app(settings: AuthSettings | None = None) -> Flask:
    """Create the application, with settings from the environment unless given.

    Exits with one line on standard error if the settings are invalid. Key files are read when first needed.
    """
    with refusal("auth_app"):
        init_logs()
        settings = settings or load_settings(AuthSettings)
        app = Flask(__name__, static_folder=None)
        app.extensions["settings"] = settings
        database.init_app(app, settings.auth_database_url.get_secret_value())
        passwords.init_app(app, settings)
        audit.init_app()
        cli.init_app(app)
        status_lists.init_app(app)
        backchannel_logout.init_app(app)
        rendering.init_app(app, settings)
        for module in (authorize, token, userinfo, logout, revoke, introspect, users_api, sign_in, account):
            app.register_blueprint(module.blueprint)
        well_known.init_app(app, settings.issuer)
        _add_keys(app, settings)
        return app


def _add_keys(app: Flask, settings: AuthSettings) -> None:
    """Set up signing and verification. Key files are read when first needed, or by `check_startup`."""
    revoked_keys = RevokedKeys(settings.revoked_keys_file)
    published = open_keys(settings.jwt_public_key, settings.jwt_public_key_file, "JWT_PUBLIC_KEY")
    public_keys = UnrevokedKeys(published, revoked_keys)
    signing_key = open_signing_key(settings, public_keys, revoked_keys)
    app.extensions["public_keys"], app.extensions["signing_key"] = public_keys, signing_key
    checks = {
        "keys": public_keys.check,
        "signing_key": signing_key.check,
        "revoked_keys": revoked_keys.check,
        "database": lambda: database.db.session.scalar(select(User.id).limit(1)),
    }
    ages = {("signing_key_age_seconds", "Since the private key's file was last changed."): signing_key.age}
    service.install_defaults(app, settings, checks=checks, ages=ages, api_paths=API_PATHS)
    issuer = TrustedIssuer(settings.issuer, frozenset([settings.issuer]), public_keys, is_revoked)
    ResourceServer(current_scopes=remaining_scopes).protect(app, Verifier(issuer), settings.issuer)
    add_check(app, public_keys.check_startup)
    add_check(app, signing_key.check_startup)
