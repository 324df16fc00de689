"""Start sessions at a login, and find the live ones: a session is a login, with all tokens issued for it."""

import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, bindparam, exists, or_, select, update

from auth_app.accounts.passwords import hash_password, needs_rehash, parameters_of
from auth_app.accounts.session_ends import end_oldest_sessions
from auth_app.accounts.status_indexes import reserve_index
from auth_app.current import current_settings
from auth_app.database import db, delete_expired
from auth_app.errors import InvalidClient, InvalidGrant
from auth_app.models import Client, Session, StatusList, User
from flask_resource_server.tokens.checks import LEEWAY
from flask_resource_server.tokens.status_list import MAXIMUM_BYTES, PATH, read_reference

FAMILY_LENGTH = 43  # characters of 256 bits in base64url

# The conditions that every use of a session checks, in one place: it is neither revoked nor expired, and has
# not ended with its user's generation, its client or its status list. `now` is a parameter, in seconds.
LIVE = and_(
    Session.revoked_at.is_(None),
    Session.expires_at > bindparam("now"),
    or_(
        Session.user_id.is_(None),
        exists().where(
            User.id == Session.user_id,
            User.session_generation == Session.generation,
            User.is_disabled.is_(False),
        ),
    ),
    exists().where(StatusList.id == Session.status_list_id, StatusList.is_revoked.is_(False)),
    exists().where(Client.id == Session.client_id, Client.removed_at.is_(None)),
)

# Statements that every login and request needs are built once, so that SQLAlchemy finds the compiled SQL.
_CLAIM = (
    update(User)
    .where(User.id == bindparam("user"), User.password_hash == bindparam("verified"))
    .where(User.is_disabled.is_(False))
    .values(
        password_hash=bindparam("hash"),
        password_parameters=bindparam("parameters"),
        last_login_at=bindparam("now"),
    )
    .returning(User)
    .execution_options(synchronize_session=False, populate_existing=True)
)
_LOCK_CLIENT = (
    update(Client)
    .where(Client.id == bindparam("client"), Client.removed_at.is_(None))
    .values(secret_hash=Client.secret_hash)  # unchanged: on SQLite, only a write takes the lock
    .returning(Client)
    .execution_options(synchronize_session=False, populate_existing=True)
)
_LOCK_USER = (
    update(User)
    .where(User.id == bindparam("user"))
    .values(session_generation=User.session_generation)
    .returning(User)
    .execution_options(synchronize_session=False, populate_existing=True)
)
_LIVE_SESSION = select(Session).where(Session.id == bindparam("session"), LIVE)
_LIVE_BY_INDEX = select(Session).where(
    Session.status_list_id == bindparam("list"), Session.status_index == bindparam("index"), LIVE
)


def claim_user(user: User, password: str) -> None:
    """Lock and refresh the row of a user whose password was verified, and record the login.

    Until the commit, nothing that the session depends on can change, such as the roles. A hash with outdated
    parameters is replaced. Raises `InvalidGrant` if the user was disabled, or the password changed, while it
    was being verified.
    """
    verified_hash = user.password_hash
    new_hash = hash_password(password) if needs_rehash(verified_hash) else verified_hash
    claim = {
        "user": user.id,
        "verified": verified_hash,
        "hash": new_hash,
        "parameters": parameters_of(new_hash),
        "now": int(time.time()),
    }
    if db.session.scalar(_CLAIM, claim) is None:
        raise InvalidGrant


def start_session(user: User, **details: Any) -> tuple[Session, str]:
    """Start a session for a user whose row is locked, and return it with its first refresh token.

    `details` are columns of `Session`: at least `client_id`, `scope` and `resources`. Beyond
    `SESSIONS_PER_USER` the oldest sessions end. The caller commits.
    """
    now = int(time.time())
    # Keep the revocation of a token for as long as a verifier with a slow clock may accept the token.
    delete_expired(Session, Session.expires_at, now - LEEWAY)
    end_oldest_sessions(user, keep=current_settings().sessions_per_user - 1)
    refresh_token = secrets.token_urlsafe(32) + secrets.token_urlsafe(32)
    session = _add_session(
        now,
        refresh_token,
        user_id=user.id,
        generation=user.session_generation,
        **details,
    )
    return session, refresh_token


def start_client_session(client: Client) -> Session:
    """Return the session that a client's own tokens belong to, a new one if the last has ended.

    The loaded permissions of the client are as current as the session, because reducing them ends it. The
    caller commits. Raises `InvalidClient` if the client was removed in the meantime.
    """
    if session := _find_usable(client.session_id):
        return session
    lock_client(client)  # of several concurrent first requests, one starts the session and the others use it
    if session := _find_usable(client.session_id):
        return session
    now = int(time.time())
    delete_expired(Session, Session.expires_at, now - LEEWAY)
    unused = secrets.token_urlsafe(32)  # this grant has no refresh token (RFC 6749 section 4.4.3)
    session = _add_session(now, unused, user_id=None, client_id=client.id, scope="", resources=[])
    client.session_id = session.id
    db.session.flush()
    return session


def lock_client(client: Client) -> None:
    """Lock a client's row until the commit, and refresh it. Raises `InvalidClient` if it was removed."""
    if db.session.scalar(_LOCK_CLIENT, {"client": client.id}) is None:
        raise InvalidClient


def lock_user(user_id: uuid.UUID) -> None:
    """Lock a user's row until the commit, and refresh it."""
    db.session.scalar(_LOCK_USER, {"user": user_id})


def lock_holder(claims: Mapping[str, Any]) -> None:
    """Lock the user or client of a verified access token until the commit, and refresh the row."""
    if "sid" in claims:
        lock_user(uuid.UUID(claims["sub"]))
    else:
        db.session.scalar(_LOCK_CLIENT, {"client": claims["client_id"]})


def _find_usable(session_id: uuid.UUID | None) -> Session | None:
    session = find_live_session(session_id)
    # A token expires with its session at the latest, so the session must outlast a full token lifetime.
    settings = current_settings()
    needed = min(settings.access_token_lifetime, settings.refresh_token_lifetime // 2)
    return session if session and session.expires_at - time.time() >= needed else None


def _add_session(now: int, refresh_token: str, **owner: Any) -> Session:
    status_list_id, status_index = reserve_index(now)
    session = Session(
        family_hash=hash_secret(refresh_token[:FAMILY_LENGTH]),
        refresh_token_hash=hash_secret(refresh_token),
        created_at=now,
        expires_at=now + current_settings().refresh_token_lifetime,
        status_list_id=status_list_id,
        status_index=status_index,
        **owner,
    )
    db.session.add(session)
    db.session.flush()
    return session


def find_live_session(session_id: object) -> Session | None:
    """Return the live session with an ID, or None, also if the ID is not a UUID."""
    try:
        key = uuid.UUID(str(session_id))
    except ValueError:
        return None
    return db.session.scalar(_LIVE_SESSION, {"session": key, "now": int(time.time())})


def list_sessions(user: User) -> list[Session]:
    """Return the live sessions of a user, at most 1000, the latest login first."""
    of_user = select(Session).where(Session.user_id == user.id, LIVE).order_by(Session.created_at.desc())
    return list(db.session.scalars(of_user.limit(1000), {"now": int(time.time())}))


def find_session_of(claims: Mapping[str, Any]) -> Session | None:
    """Return the live session of an access token with these verified claims, or None."""
    session = find_live_session(claims["sid"]) if "sid" in claims else _find_client_session(claims)
    if session is None:
        return None
    owner = session.client_id if session.user_id is None else str(session.user_id)
    return session if owner == claims["sub"] else None


def _find_client_session(claims: Mapping[str, Any]) -> Session | None:
    """Return the live session of a client's own token, which has no `sid`, by its status list index."""
    try:
        uri, index = read_reference(claims)
    except ValueError:
        return None
    number = uri.removeprefix(f"{current_settings().issuer}{PATH}/")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number) or index >= 8 * MAXIMUM_BYTES:
        return None
    list_id = int(number)
    return db.session.scalar(_LIVE_BY_INDEX, {"list": list_id, "index": index, "now": int(time.time())})


def is_revoked(claims: Mapping[str, Any]) -> bool:
    """Return whether the session of an access token with these verified claims has ended."""
    return find_session_of(claims) is None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret of 256 random bits, which nobody can guess however fast the hash is."""
    return hashlib.sha256(secret.encode()).hexdigest()
