"""Authenticate the client of a request: by secret, signed assertion, or ID alone if it is public."""

from base64 import b64decode
from typing import Any
from urllib.parse import unquote_plus

from flask import request

from auth_app import audit
from auth_app.accounts.clients import NONE, find_client, matches_secret
from auth_app.errors import InvalidClient
from auth_app.models import FIRST_PARTY, Client
from auth_app.oauth.client_assertions import find_client_of_assertion
from shared.errors import InvalidRequest


def authenticate_client(body: dict[str, Any]) -> Client:
    """Return the client that sends a request. Without a `client_id` it is the first-party client.

    Accepts HTTP Basic, `client_id` and `client_secret` in the body (RFC 6749 section 2.3.1), or a
    `client_assertion` (RFC 7523 section 2.2). Raises `InvalidClient`, and `InvalidRequest` if more than one
    of these is used.
    """
    client_id, secret = body.get("client_id"), body.get("client_secret") or None
    if "client_assertion" in body or "client_assertion_type" in body:
        if secret is not None or "Authorization" in request.headers:
            raise InvalidRequest("Use only one method of client authentication.")
        return find_client_of_assertion(body)
    if "Authorization" in request.headers:
        if secret is not None:
            raise InvalidRequest("Use only one method of client authentication.")
        basic_id, secret = _read_basic()
        if basic_id is not None and client_id not in {None, basic_id}:
            raise InvalidRequest(
                "The client_id in the body differs from the one in the Authorization header."
            )
        client_id = basic_id or client_id
    client = find_client(client_id or FIRST_PARTY)
    if secret is None and client and client.auth_method == NONE:
        return client
    return _check_secret(client, secret)


def require_confidential_client(body: dict[str, Any]) -> Client:
    """Return the confidential client that sends a request.

    Raises `InvalidClient`, also for a public client, and `InvalidRequest`.
    """
    client = authenticate_client(body)
    if client.auth_method == NONE:
        raise InvalidClient
    return client


def _read_basic() -> tuple[str | None, str | None]:
    """Return the client ID and secret of HTTP Basic, None for an empty one (RFC 6749 section 2.3.1).

    Some libraries send an empty secret, or a colon alone, for a client without a secret.
    """
    scheme, _, encoded = request.headers["Authorization"].partition(" ")
    try:
        client_id, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise InvalidClient from None
    if scheme.lower() != "basic" or not colon:
        raise InvalidClient
    # Both are form-encoded before they are joined, so either may contain a colon (RFC 6749 section 2.3.1).
    return unquote_plus(client_id) or None, unquote_plus(secret) or None


def _check_secret(client: Client | None, secret: str | None) -> Client:
    if not matches_secret(client, secret or "") or client is None:
        audit.record("client_refused", client=client.id if client else None)
        raise InvalidClient
    return client
