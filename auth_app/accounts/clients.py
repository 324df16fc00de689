"""Manage clients and their grants: register, change and remove them, and check their secrets."""

import hmac
import json
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from auth_app import audit
from auth_app.accounts.redirect_uris import check_key_set_uri, check_redirect_uri, check_web_uri
from auth_app.accounts.roles import SCOPES
from auth_app.accounts.session_ends import end_client_sessions, end_session
from auth_app.accounts.sessions import hash_secret, lock_client
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Client
from flask_resource_server.tokens.key_set import PRIVATE_MEMBERS, parse_key_set
from flask_resource_server.tokens.keys import UnusableKey
from shared.errors import InvalidRequest

CLIENT_ID = re.compile(r"[a-z][a-z0-9._-]{0,63}")

# How a client authenticates (RFC 7591 section 2, `token_endpoint_auth_method`).
SECRET, ASSERTION, NONE = "client_secret", "private_key_jwt", "none"

# The grants that an operator chooses with --grant. The others follow from a client's redirect URIs.
CHOSEN_GRANT_TYPES = ("client_credentials", "password")

_NO_DIGEST = "-" * 64
_CLIENT = select(Client).where(Client.id == bindparam("client"), Client.removed_at.is_(None))
_DEFAULTS: dict[str, Any] = {
    "scopes": None,
    "resources": None,
    "grant_types": [],
    "redirect_uris": [],
    "post_logout_redirect_uris": [],
}


def find_client(client_id: str) -> Client | None:
    """Return the client with an ID, or None if there is none or it was removed."""
    if not CLIENT_ID.fullmatch(client_id):  # PostgreSQL rejects a NUL
        return None
    return db.session.scalar(_CLIENT, {"client": client_id})


def scopes_of_client(client: Client) -> frozenset[str]:
    """Return the API scopes that a client's tokens may have."""
    return SCOPES if client.scopes is None else frozenset(client.scopes)


def audience_of_client(client: Client) -> list[str]:
    """Return the resource servers that a client's tokens may be for, in the order of the settings."""
    audience = current_settings().audience
    return [server for server in audience if client.resources is None or server in client.resources]


def matches_secret(client: Client | None, secret: str) -> bool:
    """Return whether a secret is the client's, in constant time.

    The previous secret also matches until it expires. Without a client nothing matches.
    """
    current = previous = _NO_DIGEST
    if client and client.secret_hash:
        current = client.secret_hash
        if client.previous_secret_hash and (client.previous_secret_expires_at or 0) > time.time():
            previous = client.previous_secret_hash
    digest = hash_secret(secret)
    # Always compare both, so that the time does not reveal which one matched.
    return hmac.compare_digest(digest, current) | hmac.compare_digest(digest, previous)


def add_client(client_id: str, auth_method: str = SECRET, **metadata: Any) -> str | None:
    """Register a client and return its secret, or None for a client without one.

    Only a hash of the secret is stored. `metadata` are columns of `Client`. The caller commits. Raises
    `InvalidRequest`.
    """
    if not CLIENT_ID.fullmatch(client_id):
        raise InvalidRequest(
            "A client ID must start with a lower-case letter and have up to 64 characters of a-z 0-9 . _ -"
        )
    # The ID is the `sub` of the client's own tokens. User IDs are UUIDs, so a client ID must not be one
    # (RFC 9068 section 5).
    if _is_uuid(client_id):
        raise InvalidRequest("A client ID must not be a UUID, because the IDs of users are UUIDs.")
    secret = secrets.token_urlsafe(32) if auth_method == SECRET else None
    client = Client(
        id=client_id,
        auth_method=auth_method,
        secret_hash=hash_secret(secret) if secret else None,
        **_DEFAULTS | metadata,
    )
    _check(client)
    db.session.add(client)
    try:
        db.session.flush()
    except IntegrityError:  # checked by the database, because two requests may add the same ID at once
        db.session.rollback()
        if find_client(client_id):
            raise InvalidRequest("A client with this ID already exists.") from None
        raise InvalidRequest(
            "A client with this ID was removed. Choose another ID: IDs are never reused."
        ) from None
    audit.record_on_commit("client_added", client=client_id, auth_method=auth_method, metadata=metadata)
    return secret


def change_client(client: Client, changes: Mapping[str, Any]) -> None:
    """Set columns of a client. The caller commits.

    Removing scopes or resources ends the client's own session, which revokes the tokens that still carry
    them. Raises `InvalidRequest`, and `InvalidClient` if the client was removed in the meantime.
    """
    lock_client(client)
    before = _permissions(client)
    for name, value in changes.items():
        setattr(client, name, value)
    _check(client)
    db.session.flush()
    if client.session_id and not before <= _permissions(client):
        end_session(client.session_id, client=client.id)
    audit.record_on_commit("client_changed", client=client.id, changes=dict(changes))


def replace_secret(client: Client, overlap: int) -> str:
    """Give a client a new secret and return it. The previous one is accepted for another `overlap` seconds.

    The caller commits. Raises `InvalidRequest` for a client that has no secret, and `InvalidClient` if it was
    removed in the meantime.
    """
    lock_client(client)
    if client.auth_method != SECRET:
        raise InvalidRequest(f"{client.id} has no secret: it authenticates by {client.auth_method}.")
    secret = secrets.token_urlsafe(32)
    client.previous_secret_hash = client.secret_hash if overlap else None
    client.previous_secret_expires_at = int(time.time()) + overlap if overlap else None
    client.secret_hash = hash_secret(secret)
    db.session.flush()
    audit.record_on_commit("client_secret_changed", client=client.id, overlap=overlap)
    return secret


def remove_client(client: Client) -> None:
    """Remove a client and end its sessions. The ID cannot be registered again.

    The caller commits, and then calls `set_pending_bits`. Raises `InvalidClient` if the client was removed
    in the meantime.
    """
    lock_client(client)
    client.removed_at = int(time.time())
    db.session.flush()
    end_client_sessions(client.id)
    audit.record_on_commit("client_removed", client=client.id)


def _check(client: Client) -> None:
    """Raise `InvalidRequest` for metadata that is inconsistent or unsafe."""
    for uri in [*client.redirect_uris, *client.post_logout_redirect_uris]:
        check_redirect_uri(uri)
    if client.backchannel_logout_uri:
        check_web_uri(client.backchannel_logout_uri)
    if client.jwks_uri:
        check_key_set_uri(client.jwks_uri)
    if client.name is not None and not (
        client.name.isprintable() and client.name.strip() and len(client.name) <= 128
    ):
        raise InvalidRequest("A name must have 1 to 128 printable characters.")
    if bool(client.redirect_uris) != ("authorization_code" in client.grant_types):
        raise InvalidRequest(
            "A client needs redirect URIs for authorization_code, and must not have any without it."
        )
    if client.always_refresh and "refresh_token" not in client.grant_types:
        raise InvalidRequest("Only a client that users sign in to can have refresh tokens.")
    if client.auth_method == NONE and "client_credentials" in client.grant_types:
        raise InvalidRequest(
            "A public client cannot use client_credentials: give it a redirect URI or another grant."
        )
    if (client.auth_method == ASSERTION) != bool(client.jwks or client.jwks_uri):
        raise InvalidRequest(
            "Only a client that was added with a key set or its URL can have one: add another client."
        )
    _check_jwks(client)


def _check_jwks(client: Client) -> None:
    if client.jwks and client.jwks_uri:
        raise InvalidRequest("Give a key set or its URL, not both.")
    if client.jwks:
        members = client.jwks.get("keys")
        if not isinstance(members, list):
            raise InvalidRequest("The key set must have a member keys that is a list (RFC 7517 section 5).")
        if any(isinstance(key, dict) and PRIVATE_MEMBERS & key.keys() for key in members):
            raise InvalidRequest("The key set contains a private key: give only the public keys.")
        try:
            keys = parse_key_set(json.dumps(client.jwks).encode()).keys
        except UnusableKey as error:
            raise InvalidRequest(f"The key set cannot be used: {error}.") from None
        if not keys:
            raise InvalidRequest("The key set contains no keys.")


def _permissions(client: Client) -> frozenset[str]:
    return scopes_of_client(client) | frozenset(audience_of_client(client))


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False
