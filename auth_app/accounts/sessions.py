"""Keep sessions: begin one at a login, and say which are live."""

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

# What every use of a session asks for, in one place: not revoked, not expired, and neither its user, its
# client nor its list has ended it. `now` is a parameter, in seconds.
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

# Statements that every login and request needs are built once: SQLAlchemy then finds what it has compiled.
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
    .values(secret_hash=Client.secret_hash)  # as it was: SQLite has no other way to lock
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
    """Note the login of a user whose password was verified, read the user anew, and lock the row.

    Until the commit nobody changes what the session is decided by, such as the roles. A weaker hash of the
    password is replaced. Raises `InvalidGrant` when the user was disabled, or the password changed, while it
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
    """Begin a session of a user whose row is locked, and return it and its first refresh token.

    `details` are columns of `Session`: `client_id`, `scope`, `resources` at least. The oldest sessions end
    when there are too many. The caller commits.
    """
    now = int(time.time())
    # A revoked token is still known as such for as long as a verifier's clock may be behind.
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

    What is known of the client is then as new as the session: narrowing it ends the session. The caller
    commits. Raises `InvalidClient` when the client was removed meanwhile.
    """
    if session := _find_usable(client.session_id):
        return session
    lock_client(client)  # of several first requests at once one begins the session, and the others take it
    if session := _find_usable(client.session_id):
        return session
    now = int(time.time())
    delete_expired(Session, Session.expires_at, now - LEEWAY)
    unused = secrets.token_urlsafe(32)  # there is no refresh token (RFC 6749 section 4.4.3)
    session = _add_session(now, unused, user_id=None, client_id=client.id, scope="", resources=[])
    client.session_id = session.id
    db.session.flush()
    return session


def lock_client(client: Client) -> None:
    """Lock a client's row until the commit, and read it anew. Raises `InvalidClient` for a removed one."""
    if db.session.scalar(_LOCK_CLIENT, {"client": client.id}) is None:
        raise InvalidClient


def lock_user(user_id: uuid.UUID) -> None:
    """Lock a user's row until the commit, and read it anew."""
    db.session.scalar(_LOCK_USER, {"user": user_id})


def lock_holder(claims: Mapping[str, Any]) -> None:
    """Lock whoever holds an access token, by its verified claims, until the commit, and read them anew."""
    if "sid" in claims:
        lock_user(uuid.UUID(claims["sub"]))
    else:
        db.session.scalar(_LOCK_CLIENT, {"client": claims["client_id"]})


def _find_usable(session_id: uuid.UUID | None) -> Session | None:
    session = find_live_session(session_id)
    # No token outlives its session, so the session must last for as long as a token does.
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
    """Return the session of an ID if it is live, None also for what is no ID."""
    try:
        key = uuid.UUID(str(session_id))
    except ValueError:
        return None
    return db.session.scalar(_LIVE_SESSION, {"session": key, "now": int(time.time())})


def list_sessions(user: User) -> list[Session]:
    """Return the live sessions of a user, the latest login first."""
    of_user = select(Session).where(Session.user_id == user.id, LIVE).order_by(Session.created_at.desc())
    return list(db.session.scalars(of_user.limit(1000), {"now": int(time.time())}))


def find_session_of(claims: Mapping[str, Any]) -> Session | None:
    """Return the live session that an access token belongs to, by its verified claims."""
    session = find_live_session(claims["sid"]) if "sid" in claims else _find_client_session(claims)
    if session is None:
        return None
    owner = session.client_id if session.user_id is None else str(session.user_id)
    return session if owner == claims["sub"] else None


def _find_client_session(claims: Mapping[str, Any]) -> Session | None:
    """Return the live session of a client's own token, which has no `sid`: by its index in a status list."""
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
    """Tell whether the session that an access token belongs to has ended."""
    return find_session_of(claims) is None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret of 256 random bits, which nobody can guess however fast a hash is."""
    return hashlib.sha256(secret.encode()).hexdigest()
