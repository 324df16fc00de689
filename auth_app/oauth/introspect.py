"""Serve `POST /introspect`: report to confidential clients whether a token is active (RFC 7662)."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint

from auth_app.accounts.clients import audience_of_client
from auth_app.accounts.permissions import remaining_scopes
from auth_app.accounts.refresh_tokens import find_session_of_token, is_newest
from auth_app.current import current_settings
from auth_app.models import Client
from auth_app.oauth.access_tokens import read_access_token
from auth_app.oauth.client_authentication import require_confidential_client
from shared.contract import read_body

blueprint = Blueprint("introspection", __name__)

_SHOWN = ("scope", "client_id", "username", "exp", "iat", "sub", "aud", "iss", "jti")


@blueprint.post("/introspect")
def introspect_token() -> dict[str, object]:
    """Return whether a token is active, and its claims (RFC 7662 section 2.2)."""
    body = read_body()
    client = require_confidential_client(body)
    token = body["token"]
    claims = _read_access_token(token, client) if "." in token else _read_refresh_token(token, client)
    return {"active": True, **claims} if claims else {"active": False}


def _read_access_token(token: str, client: Client) -> dict[str, Any] | None:
    claims = read_access_token(token)
    # A client may only see tokens for the resource servers that it is registered with (section 2.2).
    if claims is None:
        return None
    if not set(claims.audience) & set(audience_of_client(client)):
        return None
    shown = {name: claims[name] for name in _SHOWN if name in claims}
    return {"token_type": "Bearer"} | shown | {"scope": _narrow(claims), "aud": claims.audience}


def _read_refresh_token(token: str, client: Client) -> dict[str, Any] | None:
    session = find_session_of_token(token)
    if (
        session is None
        or session.user is None
        or session.client_id != client.id
        or not is_newest(token, session)
    ):
        return None
    owner = {"client_id": session.client_id, "sub": str(session.user_id)}
    return {
        "scope": _narrow({**owner, "sid": str(session.id), "scope": session.scope}),
        **owner,
        "username": session.user.username,
        "exp": session.expires_at,
        "iat": session.created_at,
        "iss": current_settings().issuer,
    }


def _narrow(claims: Mapping[str, Any]) -> str:
    """Return the part of a token's scope that its user and client still have."""
    return " ".join(sorted(remaining_scopes(claims)))
