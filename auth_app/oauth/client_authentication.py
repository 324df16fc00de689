"""Know which client is asking: a registered one by its secret, or a public one of our own without."""

from base64 import b64decode
from typing import Any
from urllib.parse import unquote_plus

from flask import request

from auth_app import audit
from auth_app.accounts.clients import CLIENT_ID, find_client, matches_secret
from auth_app.errors import InvalidClient
from auth_app.models import FIRST_PARTY, Client
from shared.errors import InvalidRequest


def authenticate_client(body: dict[str, Any]) -> Client | None:
    """Return the registered client that sends a request, None for a public first-party one.

    Takes HTTP Basic or `client_id` and `client_secret` in the body (RFC 6749 section 2.3.1).
    Raises `InvalidClient`, and `InvalidRequest` when both ways are used.
    """
    if "client_assertion" in body or "client_assertion_type" in body:
        raise InvalidClient  # RFC 7523 is not supported, and whoever meant to use it is not a public client
    client_id, secret = body.get("client_id"), body.get("client_secret") or None
    if "Authorization" in request.headers:
        if secret is not None:
            raise InvalidRequest("Send the client's secret in one way, not in two.")
        basic_id, secret = _read_basic()
        if basic_id is not None and client_id not in {None, basic_id}:
            raise InvalidRequest("The client_id in the body is not that of the header.")
        client_id = basic_id or client_id
    if secret is None and client_id in {None, FIRST_PARTY}:
        return None
    return _check_secret(client_id, secret)


def require_client(body: dict[str, Any]) -> Client:
    """Return the registered client that sends a request; raises `InvalidClient` for a public one too."""
    client = authenticate_client(body)
    if client is None:
        raise InvalidClient
    return client


def _read_basic() -> tuple[str | None, str | None]:
    """Return the client ID and the secret of HTTP Basic, None for what is empty (RFC 6749 section 2.3.1).

    Libraries send an empty secret, or a colon alone, for a client that has none.
    """
    scheme, _, encoded = request.headers["Authorization"].partition(" ")
    try:
        client_id, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise InvalidClient from None
    if scheme.lower() != "basic" or not colon:
        raise InvalidClient
    # Both are form-encoded before they are joined: a colon may stand in either (RFC 6749 section 2.3.1).
    return unquote_plus(client_id) or None, unquote_plus(secret) or None


def _check_secret(client_id: str | None, secret: str | None) -> Client:
    # A NUL is a valid text here and for SQLite, but not for PostgreSQL.
    known = bool(client_id and CLIENT_ID.fullmatch(client_id))
    client = find_client(client_id) if known and client_id else None
    if not matches_secret(client, secret or "") or client is None:
        audit.record("client_refused", client=client.id if client else None)
        raise InvalidClient
    return client
