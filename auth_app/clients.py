"""Know which client is asking: a registered one by its secret, or a public one of our own without."""

from typing import Any
from urllib.parse import unquote_plus

from flask import request

from auth_app import audit
from auth_app.client_registry import CLIENT_ID, find_client, matches_secret
from auth_app.errors import InvalidClient
from auth_app.models import FIRST_PARTY, Client
from shared.errors import InvalidRequest


def authenticate_client(body: dict[str, Any]) -> Client | None:
    """Return the registered client that sends a request, None for a public first-party one.

    Takes HTTP Basic or `client_id` and `client_secret` in the body (RFC 6749 section 2.3.1).
    Raises `InvalidClient`, and `InvalidRequest` when both ways are used.
    """
    client_id, secret = body.get("client_id"), body.get("client_secret")
    if "Authorization" in request.headers:
        if secret is not None:
            raise InvalidRequest("Send the client's secret in one way, not in two.")
        named, (client_id, secret) = client_id, _read_basic()
        if named not in {None, client_id}:
            raise InvalidRequest("The client_id in the body is not that of the header.")
    if secret is None and client_id in {None, FIRST_PARTY}:
        return None
    return _check_secret(client_id, secret)


def require_client(body: dict[str, Any]) -> Client:
    """Return the registered client that sends a request; raises `InvalidClient` for a public one too."""
    client = authenticate_client(body)
    if client is None:
        raise InvalidClient
    return client


def _read_basic() -> tuple[str, str]:
    authorization = request.authorization
    if authorization is None or authorization.type != "basic":
        raise InvalidClient
    # Both are form-encoded before they are joined: a colon may stand in either (RFC 6749 section 2.3.1).
    return unquote_plus(authorization.username or ""), unquote_plus(authorization.password or "")


def _check_secret(client_id: str | None, secret: str | None) -> Client:
    # A NUL is a valid text here and for SQLite, but not for PostgreSQL.
    known = bool(client_id and CLIENT_ID.fullmatch(client_id))
    client = find_client(client_id) if known and client_id else None
    if not matches_secret(client, secret or "") or client is None:
        audit.record("client_refused", client=client.id if client else None)
        raise InvalidClient
    return client
