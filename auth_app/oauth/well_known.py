"""Serve the key set and the server metadata under `/.well-known` (RFC 7517, RFC 8414, OpenID Discovery)."""

from urllib.parse import urlsplit

from flask import Blueprint, Flask, jsonify, request
from werkzeug import Response

from auth_app.accounts.roles import IDENTITY_SCOPES, SCOPES
from auth_app.current import current_public_keys, current_settings
from auth_app.oauth.authorization_request import RESPONSE_MODES
from auth_app.oauth.id_tokens import ID_TOKEN_CLAIMS
from auth_app.oauth.token import supported_grants
from auth_app.oauth.userinfo import CLAIMS
from flask_resource_server.tokens.keys import ALGORITHM, public_jwk
from flask_resource_server.tokens.status_list import PATH as STATUS_LIST_PATH

blueprint = Blueprint("well_known", __name__, url_prefix="/.well-known")


def init_app(app: Flask, issuer: str) -> None:
    """Serve the documents. An issuer with a path gets the metadata URL of RFC 8414 section 3.1, too."""
    app.register_blueprint(blueprint)
    if path := urlsplit(issuer).path:
        app.add_url_rule(f"/.well-known/oauth-authorization-server{path}", view_func=show_metadata)


@blueprint.get("/jwks.json")
def show_key_set() -> Response:
    """Return the public keys as a JWK Set (RFC 7517 section 5), or 304 if unchanged."""
    settings = current_settings()
    members = {"use": "sig", "alg": ALGORITHM}
    keys = [{"kid": kid, **members, **public_jwk(key)} for kid, key in current_public_keys().items()]
    response = jsonify(keys=keys)
    response.headers["Cache-Control"] = f"public, max-age={settings.jwks_max_age}"
    response.add_etag()
    return response.make_conditional(request)


@blueprint.get("/oauth-authorization-server")
@blueprint.get("/openid-configuration")
def show_metadata() -> tuple[dict[str, object], dict[str, str]]:
    """Return the server metadata (RFC 8414 section 2, OpenID Connect Discovery section 3)."""
    settings = current_settings()
    issuer = settings.issuer
    confidential = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
    algorithms = [ALGORITHM]
    metadata: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "end_session_endpoint": f"{issuer}/logout",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "scopes_supported": ["openid", *sorted(IDENTITY_SCOPES - {"openid"}), *sorted(SCOPES)],
        "response_types_supported": ["code"],
        "response_modes_supported": list(RESPONSE_MODES),
        "grant_types_supported": supported_grants(),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "claims_supported": [*ID_TOKEN_CLAIMS, *(claim for claims in CLAIMS.values() for claim in claims)],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,  # RFC 9207 section 3
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        "token_endpoint_auth_methods_supported": [*confidential, "none"],
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": [*confidential, "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        # draft-ietf-oauth-status-list section 9
        "status_list_aggregation_endpoint": f"{issuer}{STATUS_LIST_PATH}",
        "protected_resources": list(settings.resources),  # RFC 9728 section 4
        "service_documentation": f"{issuer}/docs",
    }
    return metadata, {"Cache-Control": "public, max-age=300"}
