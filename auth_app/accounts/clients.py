"""Manage confidential clients: register, change and remove them, and keep their secrets as hashes."""

import hmac
import re
import secrets
import time
import uuid

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from auth_app import audit
from auth_app.accounts.session_ends import end_client_sessions, end_session
from auth_app.accounts.sessions import hash_secret, lock_client
from auth_app.database import db
from auth_app.models import FIRST_PARTY, Client
from shared.errors import InvalidRequest

CLIENT_ID = re.compile(r"[a-z][a-z0-9._-]{0,63}")

_NO_DIGEST = "-" * 64


def find_client(client_id: str) -> Client | None:
    """Return the client of an ID, None if there is none or it was removed."""
    return db.session.scalar(select(Client).where(Client.id == client_id, Client.removed_at.is_(None)))


def matches_secret(client: Client | None, secret: str) -> bool:
    """Tell whether a secret is a client's, or the one before while both are accepted, in constant time."""
    current = previous = _NO_DIGEST
    if client:
        current = client.secret_hash
        if client.previous_secret_hash and (client.previous_secret_expires_at or 0) > time.time():
            previous = client.previous_secret_hash
    digest = hash_secret(secret)
    # Both are compared always, so that the time does not tell which one it was.
    return hmac.compare_digest(digest, current) | hmac.compare_digest(digest, previous)


def add_client(client_id: str, scopes: list[str], resources: list[str]) -> str:
    """Register a client and return its secret, which is kept nowhere. Raises `InvalidRequest`."""
    if not CLIENT_ID.fullmatch(client_id):
        raise InvalidRequest("A client ID is a small letter and up to 63 of a-z 0-9 . _ - after it.")
    # An ID is the `sub` of the client's tokens, and must not be taken for a user's (RFC 9068 section 5).
    if client_id == FIRST_PARTY or _is_uuid(client_id):
        raise InvalidRequest("This client ID is reserved.")
    secret = secrets.token_urlsafe(32)
    db.session.add(Client(id=client_id, secret_hash=hash_secret(secret), scopes=scopes, resources=resources))
    try:
        db.session.flush()
    except IntegrityError:  # the database decides, because two may come at the same time
        db.session.rollback()
        if find_client(client_id):
            raise InvalidRequest("There is a client of this ID already.") from None
        raise InvalidRequest(
            "A client of this ID was removed. Choose another ID: none is used twice."
        ) from None
    audit.record_on_commit("client_added", client=client_id, scopes=scopes, resources=resources)
    return secret


def change_client(
    client: Client, *, scopes: list[str] | None = None, resources: list[str] | None = None
) -> None:
    """Set a client's scopes and resources; what is None stays as it is. The caller commits.

    Taking something away ends the client's own session, and with it the tokens that have it still. Raises
    `InvalidClient` when the client was removed meanwhile.
    """
    lock_client(client)
    before = {*client.scopes, *client.resources}
    client.scopes = client.scopes if scopes is None else scopes
    client.resources = client.resources if resources is None else resources
    db.session.flush()
    if client.session_id and not before <= {*client.scopes, *client.resources}:
        end_session(client.session_id, client=client.id)
    audit.record_on_commit(
        "client_changed", client=client.id, scopes=client.scopes, resources=client.resources
    )


def replace_secret(client: Client, overlap: int) -> str:
    """Give a client another secret and return it. The one before is accepted for `overlap` seconds more.

    The caller commits. Raises `InvalidClient` when the client was removed meanwhile.
    """
    lock_client(client)
    secret = secrets.token_urlsafe(32)
    client.previous_secret_hash = client.secret_hash if overlap else None
    client.previous_secret_expires_at = int(time.time()) + overlap if overlap else None
    client.secret_hash = hash_secret(secret)
    db.session.flush()
    audit.record_on_commit("client_secret_changed", client=client.id, overlap=overlap)
    return secret


def remove_client(client: Client) -> None:
    """Remove a client, and end the sessions that it holds. Its ID is never given to another client.

    The caller commits. Raises `InvalidClient` when it was removed meanwhile.
    """
    lock_client(client)
    client.removed_at = int(time.time())
    db.session.flush()
    end_client_sessions(client.id)
    audit.record_on_commit("client_removed", client=client.id)


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False
