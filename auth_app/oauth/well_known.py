"""Publish what clients and verifiers need at `/.well-known` (RFC 8615)."""

from urllib.parse import urlsplit

from flask import Blueprint, Flask, current_app, jsonify, request
from werkzeug import Response

from auth_app.accounts.roles import SCOPES
from auth_app.current import current_public_keys
from auth_app.oauth.token import GRANTS
from auth_app.settings import AuthSettings
from flask_resource_server.tokens.keys import ALGORITHM, public_jwk
from flask_resource_server.tokens.status_list import PATH as STATUS_LIST_PATH

blueprint = Blueprint("well_known", __name__, url_prefix="/.well-known")


def init_app(app: Flask, issuer: str) -> None:
    """Serve the documents, and an issuer with a path its metadata where RFC 8414 section 3.1 puts them."""
    app.register_blueprint(blueprint)
    if path := urlsplit(issuer).path:
        app.add_url_rule(f"/.well-known/oauth-authorization-server{path}", view_func=show_metadata)


@blueprint.get("/jwks.json")
def show_key_set() -> Response:
    """Return the public keys as a JWK Set (RFC 7517 section 5), or 304 to whoever has it already."""
    settings: AuthSettings = current_app.extensions["settings"]
    members = {"use": "sig", "alg": ALGORITHM}
    keys = [{"kid": kid, **members, **public_jwk(key)} for kid, key in current_public_keys().items()]
    response = jsonify(keys=keys)
    response.headers["Cache-Control"] = f"public, max-age={settings.jwks_max_age}"
    response.add_etag()
    return response.make_conditional(request)


@blueprint.get("/oauth-authorization-server")
def show_metadata() -> tuple[dict[str, object], dict[str, str]]:
    """Return what this server can do and where (RFC 8414 section 2)."""
    settings: AuthSettings = current_app.extensions["settings"]
    secret = ["client_secret_basic", "client_secret_post"]
    metadata: dict[str, object] = {
        "issuer": settings.issuer,
        "token_endpoint": f"{settings.issuer}/token",
        "jwks_uri": f"{settings.issuer}/.well-known/jwks.json",
        "revocation_endpoint": f"{settings.issuer}/revoke",
        "introspection_endpoint": f"{settings.issuer}/introspect",
        "grant_types_supported": list(GRANTS),
        "response_types_supported": [],  # required, and empty: there is no authorization endpoint
        "scopes_supported": sorted(SCOPES),
        "token_endpoint_auth_methods_supported": [*secret, "none"],
        "revocation_endpoint_auth_methods_supported": [*secret, "none"],
        "introspection_endpoint_auth_methods_supported": secret,
        # draft-ietf-oauth-status-list section 9
        "status_list_aggregation_endpoint": f"{settings.issuer}{STATUS_LIST_PATH}",
        "protected_resources": list(settings.resources),  # RFC 9728 section 4
        "service_documentation": f"{settings.issuer}/docs",
    }
    return metadata, {"Cache-Control": "public, max-age=300"}
