"""Make a Flask application a resource server: a new one, or one that is there already."""

from pathlib import Path

from flask import Flask, Response, current_app
from flask.json.provider import DefaultJSONProvider

from flask_resource_server import explanation, protected_resource, verification
from flask_resource_server.exceptions import ConfigurationError, Undetermined
from flask_resource_server.tokens.public_keys import PublicKeys, open_public_keys
from flask_resource_server.tokens.status_lists import Revocations
from flask_resource_server.tokens.verifier import IsRevoked, Verifier
from shared import bodies, contract, docs, errors, headers, health, metrics, proxies, request_id
from shared.logs import init_logs
from shared.settings import ResourceServerSettings, Settings, load_settings
from shared.startup import add_check, refusal


def create_resource_server(
    import_name: str, settings: ResourceServerSettings | None = None, checks: health.Checks | None = None
) -> Flask:
    """Return a new application that accepts access tokens, with all that a service of this house has.

    Settings come from the environment unless given; `checks` decide about `/readyz`. Exits with one line on
    standard error when the settings are unfit.
    """
    with refusal(import_name):
        init_logs()
        settings = settings or load_settings(ResourceServerSettings)
        public_keys = open_public_keys(settings)
        revocations = Revocations(settings, public_keys)
        app = Flask(import_name, static_folder=None)
        furnish(
            app,
            settings,
            checks={"keys": public_keys.check, "status_lists": revocations.check, **(checks or {})},
            ages={
                ("keys_age_seconds", "Since the key set was up to date."): lambda: public_keys.age,
                ("status_lists_age_seconds", "Since the lists were up to date."): lambda: revocations.age,
            },
        )
        protect(
            app,
            issuer=settings.issuer,
            audience=settings.resource,
            public_keys=public_keys,
            is_revoked=revocations.is_revoked,
        )
        return app


def init_app(app: Flask, settings: ResourceServerSettings | None = None) -> None:
    """Let an application that is there accept access tokens where its views ask for them.

    Nothing else of it changes. Settings and refusals are those of `create_resource_server`.
    """
    with refusal(app.import_name):
        settings = settings or load_settings(ResourceServerSettings)
        public_keys = open_public_keys(settings)
        protect(
            app,
            issuer=settings.issuer,
            audience=settings.resource,
            public_keys=public_keys,
            is_revoked=Revocations(settings, public_keys).is_revoked,
        )


def protect(
    app: Flask,
    *,
    issuer: str,
    audience: str,
    public_keys: PublicKeys,
    is_revoked: IsRevoked,
    current_scopes: verification.CurrentScopes = verification.granted_scopes,
) -> None:
    """Let `app` verify access tokens, refuse them, and tell who issues them.

    `audience` is the service's own URL; `is_revoked` tells from its claims whether a token was revoked, and
    `current_scopes` which of its scopes its holder still has.
    """
    app.extensions["public_keys"] = public_keys
    add_check(app, public_keys.check_startup)
    app.register_error_handler(errors.ApiError, errors.respond)
    app.register_error_handler(ConfigurationError, _respond_to_unfit_keys)
    app.register_error_handler(Undetermined, lambda _: errors.respond(errors.Unavailable()))
    verifier = Verifier(issuer, [audience], public_keys, is_revoked)
    verification.init_app(app, verifier, current_scopes)
    protected_resource.init_app(app, issuer=issuer, resource=audience)
    explanation.init_app(app, verifier)


def _respond_to_unfit_keys(error: ConfigurationError) -> Response:
    """Answer 503: the keys are read when they are first needed, and again until they are good."""
    current_app.logger.error("%s", error)
    return errors.respond(errors.Unavailable())


def furnish(app: Flask, settings: Settings, *, checks: health.Checks, ages: metrics.Ages) -> None:
    """Give `app` metrics, request IDs, errors, headers, bodies and health; with an openapi.yml, docs too."""
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False  # members keep the order in which the documents show them
    metrics.init_app(app, settings, ages)
    request_id.init_app(app)
    errors.init_app(app)
    headers.init_app(app)
    bodies.init_app(app)
    if (Path(app.root_path) / "openapi.yml").exists():
        contract.init_app(app)
        docs.init_app(app)
    health.init_app(app, checks)
    proxies.init_app(app, settings.trusted_proxies)
