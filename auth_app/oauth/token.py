"""Serve `POST /token`: one function for each grant type issues the tokens (RFC 6749)."""

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, request

from auth_app import audit
from auth_app.accounts.clients import audience_of_client, scopes_of_client
from auth_app.accounts.known_addresses import remember_address, shorten_address
from auth_app.accounts.refresh_tokens import rotate_refresh_token
from auth_app.accounts.roles import scopes_of
from auth_app.accounts.sessions import claim_user, lock_client, start_client_session, start_session
from auth_app.accounts.users import authenticate_user
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.errors import (
    CrossOriginRequest,
    InvalidGrant,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from auth_app.metrics import LOGINS, TOKENS
from auth_app.models import Client
from auth_app.oauth.authorization_codes import redeem_code
from auth_app.oauth.client_authentication import authenticate_client
from auth_app.oauth.responses import TokenResponse, build_login_response, build_token_response
from auth_app.oauth.scopes import allowed_scopes, narrow_audience
from shared.contract import read_body
from shared.errors import InvalidRequest

blueprint = Blueprint("token", __name__)


@blueprint.post("/token")
def issue_token() -> tuple[TokenResponse, dict[str, str]]:
    """Authenticate the client, and answer its grant with a token response (RFC 6749 section 5.1)."""
    _refuse_other_origins()
    if request.args:  # credentials in a URL end up in logs (RFC 6749 section 2.3.1)
        raise InvalidRequest("Send the parameters in the request body, not in the URL.")
    body = read_body()
    grant = body.get("grant_type", "password")
    if grant not in supported_grants():
        raise UnsupportedGrantType
    client = authenticate_client(body)
    if grant not in client.grant_types:
        raise UnauthorizedClient
    response = GRANTS[grant](client, body)
    db.session.commit()
    TOKENS.labels(grant).inc()
    if grant == "password":
        LOGINS.labels("succeeded").inc()
    return response, {"Cache-Control": "no-store", "Pragma": "no-cache"}


def supported_grants() -> list[str]:
    """Return the grant types that the settings enable."""
    return [name for name in GRANTS if name != "password" or current_settings().password_grant == "on"]  # noqa: S105


def _refuse_other_origins() -> None:
    """Raise `CrossOriginRequest` for a page of another origin, unless CORS_ORIGINS lists the origin."""
    # Only browsers send these headers (Fetch Metadata, RFC 6454), and no page can change them.
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None:
        # A browser from before 2023, or any browser over http; without an Origin, not a browser.
        own_hosts = {request.headers.get("Host"), urlsplit(current_settings().issuer).netloc}
        is_own = origin is None or origin.partition("://")[2] in own_hosts
    else:
        is_own = site in {"same-origin", "none"}
    if not is_own and origin not in current_settings().cors_origins:
        raise CrossOriginRequest


def _exchange_code(client: Client, body: dict[str, Any]) -> TokenResponse:
    """Exchange an authorization code for the tokens of a new session (RFC 6749 section 4.1.3)."""
    login = redeem_code(client, body["code"], body["redirect_uri"], body["code_verifier"])
    scopes = frozenset(login.session.scope.split())
    refresh_token = login.refresh_token if _may_refresh(client, scopes) else None
    audit.record_on_commit("login", actor=login.user.id, client=client.id, session=login.session.id)
    resources = narrow_audience(login.session.resources, body.get("resource"))
    return build_login_response(login.session, login.user, scopes, resources, refresh_token, login.nonce)


def _may_refresh(client: Client, scopes: frozenset[str]) -> bool:
    """Return whether a sign-in gets a refresh token (OpenID Connect Core section 11)."""
    is_wanted = client.always_refresh or "offline_access" in scopes
    return is_wanted and "refresh_token" in client.grant_types


def _log_in(client: Client, body: dict[str, Any]) -> TokenResponse:
    """Log a user in with name and password (RFC 6749 section 4.3)."""
    user = authenticate_user(body["username"], body["password"])
    if user is None:
        raise InvalidGrant
    claim_user(user, body["password"])
    lock_client(client)  # raises if it was removed while the password was verified
    scopes = _narrow_scope(scopes_of(user.roles) & scopes_of_client(client), body)
    resources = narrow_audience(audience_of_client(client), body.get("resource"))
    session, refresh_token = start_session(
        user,
        client_id=client.id,
        scope=" ".join(sorted(scopes)),
        resources=resources,
        address=shorten_address(),
    )
    remember_address(user)
    audit.record_on_commit("login", actor=user.id, client=client.id, session=session.id)
    is_refreshable = "refresh_token" in client.grant_types
    return build_login_response(session, user, scopes, resources, refresh_token if is_refreshable else None)


def _refresh_tokens(client: Client, body: dict[str, Any]) -> TokenResponse:
    """Exchange a refresh token for the next access and refresh token of its session (RFC 6749 section 6)."""
    session, refresh_token, is_retry = rotate_refresh_token(body["refresh_token"], client.id)
    assert session.user, "a client's own session has no refresh token"
    # Permissions that user or client have lost since the login are removed. New ones need a new login.
    allowed = frozenset(session.scope.split()) & allowed_scopes(session.user, client)
    scopes = _narrow_scope(allowed, body)
    resources = narrow_audience(
        set(session.resources) & set(audience_of_client(client)), body.get("resource")
    )
    audit.record_on_commit(
        "token_refreshed", actor=session.user_id, client=client.id, session=session.id, retry=is_retry
    )
    return build_login_response(session, session.user, scopes, resources, refresh_token)


def _issue_client_token(client: Client, body: dict[str, Any]) -> TokenResponse:
    """Issue a client an access token of its own, without a refresh token (RFC 6749 section 4.4)."""
    session = start_client_session(client)
    scopes = _narrow_scope(scopes_of_client(client), body)
    resources = narrow_audience(audience_of_client(client), body.get("resource"))
    audit.record_on_commit("client_token_issued", actor=client.id, client=client.id)
    return build_token_response(session, client.id, scopes, resources)


GRANTS = {
    "authorization_code": _exchange_code,
    "refresh_token": _refresh_tokens,
    "client_credentials": _issue_client_token,
    "password": _log_in,
}


def _narrow_scope(allowed: frozenset[str], body: dict[str, Any]) -> frozenset[str]:
    """Return the requested scopes, or all of `allowed` without a request (RFC 6749 section 3.3).

    Raises `InvalidScope`.
    """
    if "scope" not in body:
        return allowed
    scopes = frozenset(body["scope"].split())
    if not scopes <= allowed:
        raise InvalidScope
    return scopes
