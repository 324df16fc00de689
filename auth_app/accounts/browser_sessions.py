"""Manage browser sessions, which make single sign-on possible: start, find, list and expire them.

The cookie is 256 random bits, of which only a hash is stored. A browser session ends after
`BROWSER_SESSION_IDLE` seconds without use, `BROWSER_SESSION_LIFETIME` seconds after the sign-in, or when all
sessions of its user are ended.
"""

import secrets
import time
import uuid

from sqlalchemy import and_, bindparam, exists, select, update

from auth_app.accounts.known_addresses import shorten_address
from auth_app.accounts.session_ends import end_browser_session
from auth_app.accounts.sessions import hash_secret, lock_user
from auth_app.current import current_settings
from auth_app.database import db, delete_expired
from auth_app.models import BrowserSession, User

_TOUCH_INTERVAL = 60  # seconds: within this time after the last recorded use, another one is not recorded

# The conditions that every use of a browser session checks, in one place.
_LIVE = and_(
    BrowserSession.expires_at > bindparam("now"),
    BrowserSession.last_used_at > bindparam("idle_since"),
    exists().where(
        User.id == BrowserSession.user_id,
        User.session_generation == BrowserSession.generation,
        User.is_disabled.is_(False),
    ),
)
_BY_COOKIE = select(BrowserSession).where(BrowserSession.token_hash == bindparam("token"), _LIVE)
_USE = (
    update(BrowserSession)
    .where(BrowserSession.id == bindparam("browser"), _LIVE)
    .values(last_used_at=bindparam("now"))
    .returning(BrowserSession)
    .execution_options(synchronize_session=False, populate_existing=True)
)
_LOCK = (
    update(BrowserSession)
    .where(BrowserSession.id == bindparam("browser"))
    .values(last_used_at=bindparam("now"))
    .returning(BrowserSession)
    .execution_options(synchronize_session=False, populate_existing=True)
)


def start_browser_session(user: User, previous: BrowserSession | None) -> tuple[BrowserSession, str]:
    """Record the sign-in of a user whose row is locked, and return the browser session and its new cookie.

    `previous` is the browser's last session, live or not. If it belongs to the same user, it continues under
    a new cookie, so that signing out later ends every login that was started from it. If it belongs to
    another user, it ends. The caller commits.
    """
    now, token = int(time.time()), secrets.token_urlsafe(32)
    # Logins started from an expired browser session may still be live, and signing out has to find them.
    kept_for = current_settings().refresh_token_lifetime
    delete_expired(BrowserSession, BrowserSession.expires_at, now - kept_for)
    if previous and previous.user_id != user.id:
        end_browser_session(previous.id, previous.user_id)
        previous = None
    if previous:  # None if it has ended in the meantime
        previous = db.session.scalar(_LOCK, {"browser": previous.id, "now": now})
    if previous is None:
        _make_room(user)
        previous = BrowserSession(user_id=user.id, user=user, created_at=now)
    previous.token_hash = hash_secret(token)
    previous.generation = user.session_generation
    previous.authenticated_at = previous.last_used_at = now
    previous.expires_at = now + current_settings().browser_session_lifetime
    previous.address = shorten_address()
    db.session.add(previous)
    db.session.flush()
    return previous, token


def find_browser_session(token: str) -> BrowserSession | None:
    """Return the live session that belongs to a cookie, or None, also if the cookie is not one of ours."""
    return db.session.scalar(_BY_COOKIE, {"token": hash_secret(token), **_times()})


def find_any_browser_session(token: str) -> BrowserSession | None:
    """Return the session that belongs to a cookie, even if expired: logins started from it may be live."""
    return db.session.scalar(
        select(BrowserSession).where(BrowserSession.token_hash == hash_secret(token)),
    )


def touch_browser_session(browser_session: BrowserSession) -> bool:
    """Record that a session is used, and return whether it is still live. The caller commits."""
    if time.time() - browser_session.last_used_at < _TOUCH_INTERVAL:
        return True
    return db.session.scalar(_USE, {"browser": browser_session.id, **_times()}) is not None


def lock_browser_session(session_id: uuid.UUID) -> BrowserSession | None:
    """Lock a live session and its user until the commit, and return it; None if it has ended."""
    session = db.session.get(BrowserSession, session_id)
    if session is None:
        return None
    lock_user(session.user_id)  # the user first: the same order everywhere prevents deadlocks
    return db.session.scalar(_USE, {"browser": session_id, **_times()})


def list_browser_sessions(user: User) -> list[BrowserSession]:
    """Return the live browser sessions of a user, the most recently used first."""
    of_user = select(BrowserSession).where(BrowserSession.user_id == user.id, _LIVE)
    return list(db.session.scalars(of_user.order_by(BrowserSession.last_used_at.desc()), _times()))


def _times() -> dict[str, int]:
    now = int(time.time())
    return {"now": now, "idle_since": now - current_settings().browser_session_idle}


def _make_room(user: User) -> None:
    of_user = select(BrowserSession.id).where(BrowserSession.user_id == user.id)
    latest_first = of_user.order_by(BrowserSession.last_used_at.desc())
    for surplus in db.session.scalars(latest_first.offset(current_settings().sessions_per_user - 1)).all():
        end_browser_session(surplus, user.id)
