"""Rotate refresh tokens: retries within the grace period succeed, reuse revokes the session.

A refresh token is 43 characters that identify its family, which is the session, and 43 that change with each
rotation. A client that lost a response, or that runs in two tabs, presents a token that it has already spent.
For `REFRESH_TOKEN_GRACE` seconds, and until the successor is used, it gets the same successor again. Any
other second use is reuse: one of the token's two holders is an attacker (RFC 9700 section 4.14.2).
"""

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from sqlalchemy import bindparam, select, update

from auth_app import audit
from auth_app.accounts.session_ends import end_session
from auth_app.accounts.sessions import FAMILY_LENGTH, LIVE, hash_secret
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.errors import InvalidGrant
from auth_app.models import Session
from flask_resource_server.tokens.checks import LEEWAY

# One statement spends a token: of several concurrent requests, only one finds the row unchanged.
_SPEND = (
    update(Session)
    .where(Session.family_hash == bindparam("family"), Session.refresh_token_hash == bindparam("spent"))
    .where(Session.client_id == bindparam("client"), LIVE)
    .values(
        refresh_token_hash=bindparam("successor"),
        rotation_nonce=bindparam("nonce"),
        rotated_at=bindparam("moment"),
    )
    .returning(Session)
    .execution_options(synchronize_session=False)
)
_LIVE_SESSION = select(Session).where(Session.family_hash == bindparam("family"), LIVE)


class Rotation(NamedTuple):
    """The result of spending a refresh token; `is_retry` if the successor had been returned before."""

    session: Session
    successor: str
    is_retry: bool


def rotate_refresh_token(refresh_token: str, client_id: str) -> Rotation:
    """Spend a refresh token, or repeat the rotation if the client retries.

    The caller commits; until then the token is not spent. Reuse ends the session, which is committed here.
    Raises `InvalidGrant`.
    """
    if rotation := _spend(refresh_token, client_id):
        return rotation
    session = find_session_of_token(refresh_token)
    if session and session.client_id == client_id:
        if successor := _repeat_successor(refresh_token, session):
            return Rotation(session, successor, is_retry=True)
        _end_reused(session)
    raise InvalidGrant("The refresh token is malformed, unknown, expired, revoked or already used.")


def _spend(refresh_token: str, client_id: str) -> Rotation | None:
    now, nonce = time.time(), secrets.token_urlsafe(32)
    successor = _derive_successor(refresh_token, nonce)
    parameters = {
        "family": _hash_family(refresh_token),
        "spent": hash_secret(refresh_token),
        "successor": hash_secret(successor),
        "nonce": nonce,
        "moment": now,
        "client": client_id,
        "now": int(now),
    }
    session = db.session.scalar(_SPEND, parameters)
    return Rotation(session, successor, is_retry=False) if session else None


def _repeat_successor(refresh_token: str, session: Session) -> str | None:
    """Return the successor of the last spent token, or None after the grace period or for an older token."""
    if session.rotation_nonce is None or session.rotated_at is None:
        return None
    grace = current_settings().refresh_token_grace
    # The clock of the replica that rotated may be ahead of this one's.
    if grace == 0 or not -LEEWAY <= time.time() - session.rotated_at <= grace:
        return None
    successor = _derive_successor(refresh_token, session.rotation_nonce)
    # Only the last spent token derives the newest one, and only until the newest one is used.
    return successor if is_newest(successor, session) else None


def _end_reused(session: Session) -> None:
    owner = {"client": session.client_id, "session": session.id}
    audit.record_on_commit("refresh_token_reused", actor=session.user_id, **owner)
    end_session(session.id, user=session.user_id, client=session.client_id)
    db.session.commit()  # here, because the refused request rolls back


def find_session_of_token(refresh_token: str) -> Session | None:
    """Return the live session that a refresh token belongs to, spent or not. None if it is malformed."""
    if not _is_well_formed(refresh_token):
        return None
    return db.session.scalar(_LIVE_SESSION, {"family": _hash_family(refresh_token), "now": int(time.time())})


def is_newest(refresh_token: str, session: Session) -> bool:
    """Return whether a refresh token is the session's current one, which has not been spent."""
    return secrets.compare_digest(session.refresh_token_hash, hash_secret(refresh_token))


def _derive_successor(refresh_token: str, nonce: str) -> str:
    """Return the next token of the family, which can be computed only from this one and the nonce.

    The key is only the second half. HMAC replaces a key of more than 64 bytes by its SHA-256, and the SHA-256
    of the whole token is in the database until the token is spent.
    """
    family, secret = refresh_token[:FAMILY_LENGTH], refresh_token[FAMILY_LENGTH:]
    return family + _encode(hmac.digest(secret.encode(), nonce.encode(), "sha256"))


def _is_well_formed(refresh_token: str) -> bool:
    """Return whether a text can be a refresh token. A truncated one must not count as reuse."""
    halves = refresh_token[:FAMILY_LENGTH], refresh_token[FAMILY_LENGTH:]
    return all(map(_is_encoded, halves))


def _is_encoded(half: str) -> bool:
    """Return whether a text is the canonical base64url encoding of 32 bytes, with the unused bits zero."""
    try:
        secret = urlsafe_b64decode(half + "=")
    except ValueError:
        return False
    return len(secret) == 32 and _encode(secret) == half


def _encode(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def _hash_family(refresh_token: str) -> str:
    return hash_secret(refresh_token[:FAMILY_LENGTH])
