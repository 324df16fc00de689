"""Keep browser sessions: in which browser which user has signed in, and until when.

The cookie is 256 random bits, of which only a hash is stored. A browser session ends when it was not used for
`BROWSER_SESSION_IDLE` seconds, `BROWSER_SESSION_LIFETIME` seconds after the sign-in, and when all sessions of
its user end.
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

_TOUCHED_EVERY = 60  # seconds: a use sooner after the last one is not written down

# What every use of a browser session asks for, in one place.
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
    """Record that a user whose row is locked has signed in, and return the session and its new cookie.

    `previous` is the session of the same browser, live or not: the same user's goes on under another cookie,
    so that signing out ends all that ever came of it, and another user's ends. The caller commits.
    """
    now, token = int(time.time()), secrets.token_urlsafe(32)
    # What came of one that has expired may be live: signing out has to find it.
    kept_for = current_settings().refresh_token_lifetime
    delete_expired(BrowserSession, BrowserSession.expires_at, now - kept_for)
    if previous and previous.user_id != user.id:
        end_browser_session(previous.id, previous.user_id)
        previous = None
    if previous:  # unless it has ended meanwhile
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
    """Return the live session that a cookie stands for, or None, also for what is no cookie of ours."""
    return db.session.scalar(_BY_COOKIE, {"token": hash_secret(token), **_times()})


def find_any_browser_session(token: str) -> BrowserSession | None:
    """Return the session of a cookie, also one that has expired: what came of it may be live."""
    return db.session.scalar(
        select(BrowserSession).where(BrowserSession.token_hash == hash_secret(token)),
    )


def touch_browser_session(browser_session: BrowserSession) -> bool:
    """Note that a session is used, and return whether it is still live. The caller commits."""
    if time.time() - browser_session.last_used_at < _TOUCHED_EVERY:
        return True
    return db.session.scalar(_USE, {"browser": browser_session.id, **_times()}) is not None


def lock_browser_session(session_id: uuid.UUID) -> BrowserSession | None:
    """Lock a live session and its user until the commit, and return it; None if it has ended."""
    session = db.session.get(BrowserSession, session_id)
    if session is None:
        return None
    lock_user(session.user_id)  # first, as everything does that locks both
    return db.session.scalar(_USE, {"browser": session_id, **_times()})


def list_browser_sessions(user: User) -> list[BrowserSession]:
    """Return the live sessions of a user, the latest first."""
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
