"""Keep logins: start a session, rotate its refresh token, and revoke it with all that came of it."""

import hashlib
import secrets
import time
import uuid
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update

from auth_app import audit
from auth_app.current import current_settings
from auth_app.database import db, delete_expired
from auth_app.errors import InvalidGrant
from auth_app.models import Client, Session, User
from auth_app.passwords import hash_password, needs_rehash
from auth_app.status_places import mark_changed, take_place
from shared.verification import LEEWAY

_FAMILY_LENGTH = 43  # characters of 256 bits in base64url

# Statements that every login and refresh needs are built once: SQLAlchemy then finds what it has compiled.
_CLAIM = (
    update(User)
    .where(User.id == bindparam("user"), User.password_hash == bindparam("verified"))
    .where(User.is_disabled.is_(False))
    .values(password_hash=bindparam("hash"), last_login_at=bindparam("now"))
    .returning(User.id)
    .execution_options(synchronize_session=False)
)
# One statement decides who spends a token: of those who come at the same time, one finds the row as it was.
_SPEND = (
    update(Session)
    .where(Session.family_hash == bindparam("family"), Session.refresh_token_hash == bindparam("spent"))
    .where(Session.client_id == bindparam("client"), Session.revoked_at.is_(None))
    .values(refresh_token_hash=bindparam("successor"))
    .returning(Session)
    .execution_options(synchronize_session=False)
)


def start_session(
    user: User, password: str, client_id: str, scope: str, resources: list[str]
) -> tuple[Session, str]:
    """Log in a user whose password was verified, and return the session and its first refresh token.

    A weaker hash of the password is replaced. Raises `InvalidGrant` when the user was disabled, or the
    password changed, while it was being verified.
    """
    verified_hash = user.password_hash
    new_hash = hash_password(password) if needs_rehash(verified_hash) else verified_hash
    now = int(time.time())
    # The row is locked until the commit: whoever disables the user meanwhile then finds this session too.
    claimed = db.session.scalar(
        _CLAIM, {"user": user.id, "verified": verified_hash, "hash": new_hash, "now": now}
    )
    if claimed is None:
        raise InvalidGrant
    # A revoked token is still known as such for as long as a verifier's clock may be behind.
    delete_expired(Session, Session.expires_at, now - LEEWAY)
    status_list_id, status_index = take_place(now)
    refresh_token = secrets.token_urlsafe(32) + secrets.token_urlsafe(32)
    session = Session(
        user_id=claimed,
        client_id=client_id,
        scope=scope,
        resources=resources,
        family_hash=_hash_family(refresh_token),
        refresh_token_hash=hash_secret(refresh_token),
        created_at=now,
        expires_at=now + current_settings().refresh_token_lifetime,
        status_list_id=status_list_id,
        status_index=status_index,
    )
    db.session.add(session)
    db.session.commit()
    return session, refresh_token


def rotate_refresh_token(refresh_token: str, client_id: str) -> tuple[Session, str]:
    """Spend a refresh token and return its session and the next one (RFC 9700 section 4.14.2).

    The caller commits, or gives the token back by not doing so. A token that was spent before revokes its
    session, for one of the two who used it is a thief. Raises `InvalidGrant`.
    """
    successor = refresh_token[:_FAMILY_LENGTH] + secrets.token_urlsafe(32)
    session = db.session.scalar(
        _SPEND,
        {
            "family": _hash_family(refresh_token),
            "spent": hash_secret(refresh_token),
            "successor": hash_secret(successor),
            "client": client_id,
        },
    )
    if session is None:
        _revoke_if_reused(refresh_token, client_id)
    if session is None or not session.is_live:
        raise InvalidGrant("The refresh token is unknown, expired, revoked or spent.")
    return session, successor


def _revoke_if_reused(refresh_token: str, client_id: str) -> None:
    session = find_session_of_token(refresh_token)
    if session and session.client_id == client_id and session.is_live:
        audit.record("refresh_token_reused", actor=session.user_id, client=client_id, session=session.id)
        revoke_sessions(Session.id == session.id)


def find_session_of_token(refresh_token: str) -> Session | None:
    """Return the session that a refresh token belongs to, be it spent or not."""
    return db.session.scalar(select(Session).where(_is_family_of(refresh_token)))


def is_newest(refresh_token: str, session: Session) -> bool:
    """Tell whether a refresh token of a session is the one that can be spent next."""
    return secrets.compare_digest(session.refresh_token_hash, hash_secret(refresh_token))


def revoke_sessions(*which: ColumnElement[bool]) -> int:
    """Revoke the live sessions that fulfil every condition, and commit; return how many there were."""
    ended = db.session.execute(
        update(Session)
        .where(Session.revoked_at.is_(None), *which)
        .values(revoked_at=int(time.time()))
        .returning(Session.id, Session.user_id, Session.client_id, Session.status_list_id)
    ).all()
    if ended:
        mark_changed(status_list_id for *_, status_list_id in ended)
    db.session.commit()
    for session_id, user_id, client_id, _ in ended:
        audit.record("session_revoked", session=session_id, user=user_id, client=client_id)
    return len(ended)


def is_revoked(claims: dict[str, Any]) -> bool:
    """Tell whether the session of an access token has ended, or the client that it was issued to is gone."""
    if "sid" not in claims:
        return db.session.get(Client, claims["sub"]) is None
    session = find_session(claims["sid"])
    return session is None or not session.is_live or str(session.user_id) != claims["sub"]


def find_session(session_id: object) -> Session | None:
    """Return the session of an ID, None also for what is no ID."""
    try:
        key = uuid.UUID(str(session_id))
    except ValueError:
        return None
    return db.session.get(Session, key)


def _is_family_of(refresh_token: str) -> ColumnElement[bool]:
    return Session.family_hash == _hash_family(refresh_token)


def _hash_family(refresh_token: str) -> str:
    return hash_secret(refresh_token[:_FAMILY_LENGTH])


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret of 256 random bits, which nobody can guess however fast a hash is."""
    return hashlib.sha256(secret.encode()).hexdigest()
