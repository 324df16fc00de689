"""Tell clients that a login has ended (OpenID Connect Back-Channel Logout 1.0), outside of any request.

Whoever ends a session leaves a notice in the database, in the same transaction. Threads of a worker send what
is due, and try again later what fails; if the process ends first, another one does.
"""

import logging
import threading
import time
import uuid

from flask import Flask, current_app
from sqlalchemy import case, delete, event, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session as DatabaseSession

from auth_app.accounts.clients import find_client
from auth_app.accounts.session_ends import HAS_NOTICES
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.keys.signing import sign_jwt
from auth_app.metrics import LOGOUT_NOTICES
from auth_app.models import LogoutNotice
from auth_app.oauth.outgoing import post_form

LOGOUT_TOKEN_TYPE = "logout+jwt"  # noqa: S105  # section 2.4
_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LIFETIME = 120  # seconds: what section 2.4 recommends as the most
DELAYS = (2, 10, 60, 300, 1800)  # seconds after each failure; then the notice is given up
_CLAIMED_FOR = 20  # seconds: longer than a process that goes on takes to send one
_AT_ONCE = 8  # clients that a process tells something at the same time
_BATCH = 1000  # notices that wait together
_LOOKED_EVERY = 30  # seconds between two looks for notices that another process has left

_logger = logging.getLogger(__name__)


class Sender:
    """The threads of this process that send notices. They run only while there are some. Safe for forks.

    One thread looks for what is due, and starts another for each client that has to be told something, so
    that a client that does not answer delays no other.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._busy: set[str] = set()  # the clients that are being told something
        self._looked_at = -float("inf")

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
        while True:
            self._wake.clear()
            with self._app.app_context():
                wait = self._start_due()
            with self._lock:
                if wait is None and not self._busy and not self._wake.is_set():
                    self._thread = None
                    return
            self._wake.wait(wait)

    def _start_due(self) -> float | None:
        """Send what is due, and return the seconds until more is; None if none will be."""
        try:
            while len(busy := self._list_busy()) < _AT_ONCE:
                notice = _claim(time.time(), busy)
                if notice is None:
                    return _seconds_to_next(busy)
                with self._lock:
                    self._busy.add(notice.client_id)
                name = f"logout notice for {notice.client_id}"
                threading.Thread(target=self._send_one, args=[notice], name=name, daemon=True).start()
        except SQLAlchemyError as error:
            _logger.warning("cannot read logout notices: %s: %s", type(error).__name__, error)
        return None

    def _list_busy(self) -> list[str]:
        with self._lock:
            return list(self._busy)

    def _send_one(self, notice: LogoutNotice) -> None:
        try:
            with self._app.app_context():
                _send(notice)
        except SQLAlchemyError as error:  # it is due again, as if this process had ended
            _logger.warning("cannot write logout notices: %s: %s", type(error).__name__, error)
        finally:
            with self._lock:
                self._busy.discard(notice.client_id)
                self._wake.set()


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


def _seconds_to_next(busy: list[str]) -> float | None:
    next_due = db.session.scalar(
        select(func.min(LogoutNotice.due_at)).where(LogoutNotice.client_id.not_in(busy))
    )
    return None if next_due is None else max(0.1, next_due - time.time())


def _claim(now: float, busy: list[str]) -> LogoutNotice | None:
    """Take a notice so that no other process does. It is due again if this process does not finish it."""
    due = (
        select(LogoutNotice)
        .where(LogoutNotice.due_at <= now, LogoutNotice.client_id.not_in(busy))
        .order_by(LogoutNotice.due_at)
        .limit(1)
    )
    while (notice := db.session.scalar(due)) is not None:
        claim = (
            update(LogoutNotice)
            .where(LogoutNotice.id == notice.id, LogoutNotice.due_at == notice.due_at)
            .values(due_at=now + _CLAIMED_FOR, attempts=LogoutNotice.attempts + 1)
            .returning(LogoutNotice)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        claimed = db.session.scalar(claim)
        db.session.commit()
        if claimed:
            db.session.expunge(claimed)  # it is for another thread
            return claimed
        db.session.expire_all()
    return None


def _send(notice: LogoutNotice) -> None:
    client = find_client(notice.client_id)
    uri = client and client.backchannel_logout_uri
    if not uri:  # it was removed, or wants to know no longer
        _forget(notice)
        return
    problem = _try_to_send(notice, uri)
    if problem is None:
        LOGOUT_NOTICES.labels("sent").inc()
        _forget(notice)
    elif notice.attempts > len(DELAYS):
        LOGOUT_NOTICES.labels("given_up").inc()
        _logger.error("cannot tell %s that a login has ended: %s; giving up", notice.client_id, problem)
        _forget(notice)
    else:
        LOGOUT_NOTICES.labels("failed").inc()
        _logger.warning("cannot tell %s that a login has ended: %s", notice.client_id, problem)
        _postpone(notice)


def _try_to_send(notice: LogoutNotice, uri: str) -> str | None:
    """Send a notice and return None, or say what is in the way."""
    db.session.commit()  # no transaction stays open while somebody else's server is asked
    try:
        form = {"logout_token": _sign_logout_token(notice)}
        status = post_form(uri, form, current_settings().backchannel_logout_networks)
    except Exception as error:  # whatever it is, others can be told
        return f"{type(error).__name__}: {ascii(str(error))[1:-1]}"
    return None if status in {200, 204} else f"it has answered {status}"


def _forget(notice: LogoutNotice) -> None:
    db.session.execute(delete(LogoutNotice).where(LogoutNotice.id == notice.id))
    db.session.commit()


def _postpone(notice: LogoutNotice) -> None:
    """Let this notice wait, and with it others for the same client, which count as tried too.

    A batch of them at the most: whoever signs in and out again and again stores as many as they like.
    """
    due_at = time.time() + DELAYS[notice.attempts - 1]
    others = select(LogoutNotice.id).where(
        LogoutNotice.client_id == notice.client_id, LogoutNotice.due_at < due_at
    )
    batch = or_(LogoutNotice.id == notice.id, LogoutNotice.id.in_(others.limit(_BATCH)))
    attempts = case((LogoutNotice.attempts < notice.attempts, notice.attempts), else_=LogoutNotice.attempts)
    db.session.execute(
        update(LogoutNotice)
        .where(batch)
        .values(due_at=due_at, attempts=attempts)
        .execution_options(synchronize_session=False)
    )
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
