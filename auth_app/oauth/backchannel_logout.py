"""Notify clients in the background that a login has ended (OpenID Connect Back-Channel Logout 1.0).

The transaction that ends a session also adds a notice to the database. Threads of the worker send the notices
that are due, and retry failed ones later. If the process ends first, another one takes over.
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
_LIFETIME = 120  # seconds: the maximum that section 2.4 recommends
DELAYS = (2, 10, 60, 300, 1800)  # seconds to wait after each failure; after the last retry, give up
_CLAIMED_FOR = 20  # seconds: more than a live process needs to send a notice
_AT_ONCE = 8  # clients that a process notifies at the same time
_BATCH = 1000  # notices that are postponed together
_CHECK_INTERVAL = 30  # seconds between checks for notices that another process has left

_logger = logging.getLogger(__name__)


class Sender:
    """Sends the due notices in threads, which run only while there are notices. Safe to create before a fork.

    One thread finds due notices, and starts another for each client, so that a client that does not respond
    does not delay the others.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._busy: set[str] = set()  # the clients that are being notified
        self._checked_at = -float("inf")

    def send_soon(self) -> None:
        """Wake or start the thread, which sends all due notices, those of other processes too."""
        with self._lock:
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="logout notices", daemon=True)
                self._thread.start()

    def check(self) -> None:
        """Call `send_soon` if there are notices, unless this was checked within `_CHECK_INTERVAL` seconds."""
        if time.monotonic() - self._checked_at > _CHECK_INTERVAL:
            self._checked_at = time.monotonic()
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
        """Start sending the due notices, and return the seconds until the next one is due, None if none."""
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
            _logger.warning("cannot read logout notices: %s: %s; retrying later", type(error).__name__, error)
        return None

    def _list_busy(self) -> list[str]:
        with self._lock:
            return list(self._busy)

    def _send_one(self, notice: LogoutNotice) -> None:
        try:
            with self._app.app_context():
                _send(notice)
        except SQLAlchemyError as error:  # it becomes due again, as if this process had ended
            name = type(error).__name__
            _logger.warning("cannot update a logout notice: %s: %s; sending it again later", name, error)
        finally:
            with self._lock:
                self._busy.discard(notice.client_id)
                self._wake.set()


def init_app(app: Flask) -> None:
    """Set up sending for `app`. Starts no thread before the first notice."""
    app.extensions["logout_sender"] = Sender(app)


def send_soon() -> None:
    """Send the due notices in a thread of this process."""
    _sender().send_soon()


def check_for_notices() -> None:
    """Send notices that another process has left. Checks every `_CHECK_INTERVAL` seconds at most."""
    _sender().check()


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
    """Claim a due notice, so that no other process sends it. It becomes due again if this process dies."""
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
            db.session.expunge(claimed)  # another thread uses it
            return claimed
        db.session.expire_all()
    return None


def _send(notice: LogoutNotice) -> None:
    client = find_client(notice.client_id)
    uri = client and client.backchannel_logout_uri
    if not uri:  # the client or its URI was removed
        _forget(notice)
        return
    problem = _try_to_send(notice, uri)
    if problem is None:
        LOGOUT_NOTICES.labels("sent").inc()
        _forget(notice)
    elif notice.attempts > len(DELAYS):
        LOGOUT_NOTICES.labels("given_up").inc()
        _logger.error("cannot notify %s of a logout: %s; giving up", notice.client_id, problem)
        _forget(notice)
    else:
        LOGOUT_NOTICES.labels("failed").inc()
        delay = DELAYS[notice.attempts - 1]
        name = notice.client_id
        _logger.warning("cannot notify %s of a logout: %s; retrying in %d s", name, problem, delay)
        _postpone(notice, delay)


def _try_to_send(notice: LogoutNotice, uri: str) -> str | None:
    """Send a notice. Return None if the client accepted it, otherwise the problem."""
    db.session.commit()  # keep no transaction open while waiting for the client's server
    try:
        form = {"logout_token": _sign_logout_token(notice)}
        status = post_form(uri, form, current_settings().backchannel_logout_networks)
    except Exception as error:  # no failure may keep the other notices from being sent
        return f"{type(error).__name__}: {ascii(str(error))[1:-1]}"
    return None if status in {200, 204} else f"it returned status {status}"


def _forget(notice: LogoutNotice) -> None:
    db.session.execute(delete(LogoutNotice).where(LogoutNotice.id == notice.id))
    db.session.commit()


def _postpone(notice: LogoutNotice, delay: float) -> None:
    """Postpone a notice by `delay` seconds, and others for the same client, which count as tried too.

    At most a batch of them: a user who keeps signing in and out can add any number.
    """
    due_at = time.time() + delay
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
