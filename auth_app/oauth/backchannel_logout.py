"""Tell clients that a login has ended (OpenID Connect Back-Channel Logout 1.0), outside of any request.

Whoever ends a session leaves a notice in the database, in the same transaction. A thread of a worker sends
what is due, and tries again later what fails; if the process ends first, another one does.
"""

import logging
import threading
import time
import uuid

from flask import Flask, current_app
from sqlalchemy import delete, event, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as DatabaseSession

from auth_app.accounts.clients import find_client
from auth_app.accounts.session_ends import HAS_NOTICES
from auth_app.current import current_settings
from auth_app.database import db, delete_expired
from auth_app.keys.signing import sign_jwt
from auth_app.metrics import LOGOUT_NOTICES
from auth_app.models import LogoutNotice
from auth_app.oauth.outgoing import TIMEOUT, post_form

LOGOUT_TOKEN_TYPE = "logout+jwt"  # noqa: S105  # section 2.4
_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LIFETIME = 120  # seconds: what section 2.4 recommends as the most
DELAYS = (2, 10, 60, 300, 1800)  # seconds after each failure; then the notice is given up
_LONGEST_WAIT = 86400  # seconds after which a notice that was never tried is given up too
_LOOKED_EVERY = 30  # seconds between two looks for notices that another process has left

_logger = logging.getLogger(__name__)


class _Pauses:
    """Clients that could not be told lately, and when to try again: they hold up no others."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def add(self, client_id: str) -> None:
        """Note another failure of a client."""
        failures = self._failures[client_id] = self._failures.get(client_id, 0) + 1
        self._until[client_id] = time.time() + DELAYS[min(failures, len(DELAYS)) - 1]

    def end(self, client_id: str) -> None:
        """Note that a client could be told."""
        self._failures.pop(client_id, None)
        self._until.pop(client_id, None)

    def current(self) -> list[str]:
        """Return the clients that are not to be tried now."""
        return [client_id for client_id, until in self._until.items() if until > time.time()]

    def next_end(self) -> float:
        """Return when the first of these pauses ends."""
        return min((self._until[client_id] for client_id in self.current()), default=float("inf"))


class Sender:
    """The thread of this process that sends notices. It runs only while there are some. Safe for forks."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked_at = -float("inf")
        self._pauses = _Pauses()

    def send_soon(self) -> None:
        """Have what is due sent, and what others have left."""
        with self._lock:
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="logout notices", daemon=True)
                self._thread.start()

    def look(self) -> None:
        """Do the same if there are any, unless this was done a moment ago."""
        if time.monotonic() - self._looked_at > _LOOKED_EVERY:
            self._looked_at = time.monotonic()
            if db.session.scalar(select(LogoutNotice.id).limit(1)) is not None:
                self.send_soon()

    def _run(self) -> None:
        with self._app.app_context():
            while True:
                self._wake.clear()
                try:
                    wait = _send_due(self._pauses)
                except SQLAlchemyError as error:
                    db.session.rollback()
                    _logger.warning("cannot read logout notices: %s: %s", type(error).__name__, error)
                    wait = None
                finally:
                    db.session.remove()
                with self._lock:
                    if wait is None and not self._wake.is_set():
                        self._thread = None
                        return
                self._wake.wait(wait)


def init_app(app: Flask) -> None:
    """Send the notices of `app`; a thread is started by the first one."""
    app.extensions["logout_sender"] = Sender(app)


def send_soon() -> None:
    """Have the notices sent that are due, by a thread of this process."""
    _sender().send_soon()


def look_for_notices() -> None:
    """Look for notices that another process has left, if that was not done a moment ago."""
    _sender().look()


@event.listens_for(db.session, "after_commit")
def _send_committed(session: DatabaseSession) -> None:
    if session.info.pop(HAS_NOTICES, False):
        send_soon()


def _sender() -> Sender:
    sender: Sender = current_app.extensions["logout_sender"]
    return sender


def _send_due(pauses: _Pauses) -> float | None:
    """Send every notice that is due, and return the seconds until the next one is, None if there is none."""
    delete_expired(LogoutNotice, LogoutNotice.due_at, time.time() - _LONGEST_WAIT)
    db.session.commit()
    while (notice := _claim(time.time(), pauses.current())) is not None:
        _send(notice, pauses)
    others = LogoutNotice.client_id.not_in(pauses.current())
    next_due = db.session.scalar(select(func.min(LogoutNotice.due_at)).where(others))
    has_any = db.session.scalar(select(LogoutNotice.id).limit(1)) is not None
    db.session.commit()
    if not has_any:
        return None
    return max(0.1, min(next_due or float("inf"), pauses.next_end()) - time.time())


def _claim(now: float, paused: list[str]) -> LogoutNotice | None:
    """Take a notice so that no other process does. It is due again if this process does not finish it."""
    due = select(LogoutNotice).where(LogoutNotice.due_at <= now, LogoutNotice.client_id.not_in(paused))
    while (notice := db.session.scalar(due.order_by(LogoutNotice.due_at).limit(1))) is not None:
        seen, delay = notice.due_at, DELAYS[min(notice.attempts, len(DELAYS) - 1)]
        claim = (
            update(LogoutNotice)
            .where(LogoutNotice.id == notice.id, LogoutNotice.due_at == seen)
            .values(due_at=now + max(delay, 2 * TIMEOUT), attempts=LogoutNotice.attempts + 1)
            .returning(LogoutNotice)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        claimed = db.session.scalar(claim)
        db.session.commit()
        if claimed:
            return claimed
        db.session.expire_all()
    return None


def _send(notice: LogoutNotice, pauses: _Pauses) -> None:
    client = find_client(notice.client_id)
    uri = client and client.backchannel_logout_uri
    if not uri:  # it was removed, or wants to know no longer
        _forget(notice)
        return
    token = _sign_logout_token(notice)
    db.session.commit()  # no transaction stays open while somebody else's server is asked
    try:
        status = post_form(uri, {"logout_token": token}, current_settings().backchannel_logout_networks)
        problem = None if status in {200, 204} else f"it has answered {status}"
    except OSError as error:
        problem = f"{type(error).__name__}: {ascii(str(error))[1:-1]}"
    if problem is None:
        pauses.end(notice.client_id)
        LOGOUT_NOTICES.labels("sent").inc()
        _forget(notice)
        return
    pauses.add(notice.client_id)
    _note_failure(notice, problem)


def _note_failure(notice: LogoutNotice, problem: str) -> None:
    if notice.attempts > len(DELAYS):
        LOGOUT_NOTICES.labels("given_up").inc()
        _logger.error("cannot tell %s that a login has ended: %s; giving up", notice.client_id, problem)
        _forget(notice)
    else:
        LOGOUT_NOTICES.labels("failed").inc()
        _logger.warning("cannot tell %s that a login has ended: %s", notice.client_id, problem)


def _forget(notice: LogoutNotice) -> None:
    db.session.execute(delete(LogoutNotice).where(LogoutNotice.id == notice.id))
    db.session.commit()


def _sign_logout_token(notice: LogoutNotice) -> str:
    now = int(time.time())
    claims = {
        "iss": current_settings().issuer,
        "sub": str(notice.user_id),
        "aud": notice.client_id,
        "iat": now,
        "exp": now + _LIFETIME,
        "jti": str(uuid.uuid4()),
        "sid": str(notice.session_id),
        "events": {_EVENT: {}},
    }
    return sign_jwt(claims, LOGOUT_TOKEN_TYPE)
