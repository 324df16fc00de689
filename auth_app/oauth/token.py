"""Answer grants at `POST /token` (RFC 6749)."""

import time
from collections.abc import Iterable
from typing import Any

from flask import Blueprint, request

from auth_app import audit
from auth_app.accounts.known_addresses import remember_address
from auth_app.accounts.refresh_tokens import rotate_refresh_token
from auth_app.accounts.roles import scopes_of
from auth_app.accounts.sessions import claim_user, lock_client, start_client_session, start_session
from auth_app.accounts.users import authenticate_user
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.errors import (
    CrossSiteRequest,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from auth_app.metrics import LOGINS, TOKENS
from auth_app.models import FIRST_PARTY, Client, Session, User
from auth_app.oauth.access_tokens import sign_access_token
from auth_app.oauth.client_authentication import authenticate_client
from auth_app.oauth.status_lists import uri_of
from shared.contract import read_body
from shared.errors import InvalidRequest

blueprint = Blueprint("token", __name__)

Answer = dict[str, object]


@blueprint.post("/token")
def issue_token() -> tuple[Answer, dict[str, str]]:
    """Answer a grant with an access token (RFC 6749 section 5.1)."""
    _refuse_other_sites()
    if request.args:  # RFC 6749 section 2.3.1: credentials in a URL end up in logs
        raise InvalidRequest("Send the parameters in the request body, not in the URL.")
    body = read_body()
    grant = body.get("grant_type", "password")
    answer_grant = GRANTS.get(grant)
    if answer_grant is None:
        raise UnsupportedGrantType
    answer = answer_grant(authenticate_client(body), body)
    db.session.commit()
    TOKENS.labels(grant).inc()
    if grant == "password":
        LOGINS.labels("succeeded").inc()
    return answer, {"Cache-Control": "no-store", "Pragma": "no-cache"}


def _refuse_other_sites() -> None:
    """Raise `CrossSiteRequest` if a page of another site sends this, unless CORS_ORIGINS lists its origin."""
    # Only browsers send these headers (Fetch Metadata, RFC 6454), and no page can change them.
    if request.headers.get("Sec-Fetch-Site") != "cross-site":
        return
    if request.headers.get("Origin") not in current_settings().cors_origins:
        raise CrossSiteRequest


def _answer_password(client: Client | None, body: dict[str, Any]) -> Answer:
    """Log a user in (RFC 6749 section 4.3)."""
    user = authenticate_user(body["username"], body["password"])
    if user is None:
        raise InvalidGrant
    claim_user(user, body["password"])
    if client:  # it may have been removed while the password was verified
        lock_client(client)
    client_id = client.id if client else FIRST_PARTY
    scopes = _narrow_scope(_limit(scopes_of(user.roles), client), body)
    resources = _narrow_audience(_audience_of(client), body)
    session, refresh_token = start_session(user, client_id, " ".join(sorted(scopes)), resources)
    remember_address(user)
    audit.record_on_commit("login", actor=user.id, client=client_id, session=session.id)
    return _present_login(session, user, scopes, resources, refresh_token)


def _answer_refresh(client: Client | None, body: dict[str, Any]) -> Answer:
    """Give the next access token of a session, and its next refresh token (RFC 6749 section 6)."""
    client_id = client.id if client else FIRST_PARTY
    session, refresh_token, is_retry = rotate_refresh_token(body["refresh_token"], client_id)
    assert session.user, "a client's own session has no refresh token"
    # What the user and the client have lost since the login is lost; what they have won needs a new login.
    allowed = frozenset(session.scope.split()) & _limit(scopes_of(session.user.roles), client)
    scopes = _narrow_scope(allowed, body)
    resources = _narrow_audience(set(session.resources) & set(_audience_of(client)), body)
    audit.record_on_commit(
        "token_refreshed", actor=session.user_id, client=client_id, session=session.id, retry=is_retry
    )
    return _present_login(session, session.user, scopes, resources, refresh_token)


def _answer_client_credentials(client: Client | None, body: dict[str, Any]) -> Answer:
    """Give a client a token of its own, and no refresh token (RFC 6749 section 4.4)."""
    if client is None:
        raise UnauthorizedClient
    session = start_client_session(client)
    scopes = _narrow_scope(frozenset(client.scopes), body)
    resources = _narrow_audience(client.resources, body)
    audit.record_on_commit("client_token_issued", actor=client.id, client=client.id)
    return _present_token(session, client.id, scopes, resources)


GRANTS = {
    "password": _answer_password,
    "refresh_token": _answer_refresh,
    "client_credentials": _answer_client_credentials,
}


def _present_login(
    session: Session, user: User, scopes: Iterable[str], audience: list[str], refresh_token: str
) -> Answer:
    claims = {"sid": str(session.id), "username": user.username}
    if user.must_change_password:  # which this server alone can do, and it asks for no scope
        answer = _present_token(session, str(user.id), (), [current_settings().issuer], **claims)
        return answer | {"refresh_token": refresh_token, "password_change_required": True}
    answer = _present_token(session, str(user.id), scopes, audience, **claims)
    return answer | {"refresh_token": refresh_token}


def _present_token(
    session: Session, subject: str, scopes: Iterable[str], audience: list[str], **claims: object
) -> Answer:
    # No token outlives its session, so that what is known of a session need not outlive it either.
    lifetime = min(current_settings().access_token_lifetime, session.expires_at - int(time.time()))
    access_token = sign_access_token(
        subject=subject,
        client_id=session.client_id,
        scopes=scopes,
        audience=audience,
        lifetime=lifetime,
        status={"status_list": {"idx": session.status_index, "uri": uri_of(session.status_list_id)}},
        **claims,
    )
    return {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": " ".join(sorted(scopes)),
    }


def _audience_of(client: Client | None) -> Iterable[str]:
    return client.resources if client else current_settings().audience


def _limit(scopes: frozenset[str], client: Client | None) -> frozenset[str]:
    return scopes & frozenset(client.scopes) if client else scopes


def _narrow_scope(allowed: frozenset[str], body: dict[str, Any]) -> frozenset[str]:
    """Return the scopes that were asked for, all of `allowed` if none were (RFC 6749 section 3.3)."""
    if "scope" not in body:
        return allowed
    scopes = frozenset(body["scope"].split())
    if not scopes <= allowed:
        raise InvalidScope
    return scopes


def _narrow_audience(allowed: Iterable[str], body: dict[str, Any]) -> list[str]:
    """Return the servers that were named, every allowed one if none were (RFC 8707 section 2)."""
    known = [server for server in current_settings().audience if server in allowed]
    audience = [server for server in known if server in body.get("resource", known)]
    if not audience or not set(body.get("resource", [])) <= set(audience):
        raise InvalidTarget
    return audience
