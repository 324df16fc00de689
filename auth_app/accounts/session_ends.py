"""End sessions: one session, all sessions of a user or client, or every session there is.

This server refuses the tokens of an ended session at once. Other services see the revocation as a bit in a
status list. For a single session the bit is set in the same transaction. Ending many sessions is one small
write, and their bits follow in batches (`set_pending_bits`).
"""

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Row, bindparam, delete, func, insert, literal, select, update
from sqlalchemy.exc import SQLAlchemyError

from auth_app.accounts.status_indexes import mark_changed
from auth_app.audit import record_on_commit
from auth_app.database import db
from auth_app.models import BrowserSession, Client, LogoutNotice, RevocationJob, Session, StatusList, User
from flask_resource_server import InvalidToken

_logger = logging.getLogger(__name__)

HAS_NOTICES = "logout_notices"  # marks a transaction that adds back-channel logout notices

_BATCH = 1000  # sessions whose bits are set in one transaction
_TIME_LIMIT = 1.0  # seconds that a request spends on batches
_MAXIMUM_COUNT = 10_000  # the audit log counts no more sessions than this

_NEXT_GENERATION = (
    update(User)
    .where(User.id == bindparam("user"))
    .values(session_generation=User.session_generation + 1)
    .returning(User.session_generation)
    .execution_options(synchronize_session=False)
)
# Keep a session only if it belongs to the generation that ends now. An older one has ended already.
_KEEP = (
    update(Session)
    .where(Session.id == bindparam("session"), Session.generation == bindparam("next") - 1)
    .where(Session.revoked_at.is_(None))
    .values(generation=bindparam("next"))
    .returning(Session.id)
    .execution_options(synchronize_session=False)
)
_KEEP_BROWSER = (
    update(BrowserSession)
    .where(BrowserSession.id == bindparam("session"), BrowserSession.generation == bindparam("next") - 1)
    .values(generation=bindparam("next"))
    .returning(BrowserSession.id)
    .execution_options(synchronize_session=False)
)
# Keep the logins that were started from a browser session, too.
_KEEP_LOGINS = (
    update(Session)
    .where(Session.browser_session_id == bindparam("session"), Session.generation == bindparam("next") - 1)
    .where(Session.revoked_at.is_(None))
    .values(generation=bindparam("next"))
    .execution_options(synchronize_session=False)
)


def end_session(session_id: uuid.UUID, **details: object) -> bool:
    """End a session, and return False if it had been revoked before. The caller commits."""
    ended = bool(_revoke(Session.id == session_id))
    if ended:
        record_on_commit("session_revoked", session=session_id, **details)
    return ended


def end_user_sessions(user: User, *, keep: Session | BrowserSession | None = None) -> None:
    """End all sessions and browser sessions of a user, except a live one to `keep`.

    The cost does not grow with the number of sessions. The caller commits, and then calls `set_pending_bits`.
    Raises `InvalidToken` if the session to keep has ended in the meantime.
    """
    generation = db.session.scalars(_NEXT_GENERATION, {"user": user.id}).one()
    if keep:
        statement = _KEEP if isinstance(keep, Session) else _KEEP_BROWSER
        if db.session.scalar(statement, {"session": keep.id, "next": generation}) is None:
            raise InvalidToken
        if isinstance(keep, BrowserSession):
            db.session.execute(_KEEP_LOGINS, {"session": keep.id, "next": generation})
    db.session.execute(
        delete(BrowserSession)
        .where(BrowserSession.user_id == user.id, BrowserSession.generation < generation)
        .execution_options(synchronize_session=False)
    )
    db.session.add(RevocationJob(user_id=user.id))
    _record_count(Session.user_id == user.id, Session.generation == generation - 1, user=user.id)


def end_browser_session(browser_id: uuid.UUID, user_id: uuid.UUID, *logins: uuid.UUID) -> None:
    """Sign a user out of a browser: end its session, the logins started from it, and the given `logins`.

    `logins` are IDs of sessions; those of another user are ignored. The caller commits.
    """
    db.session.execute(
        delete(BrowserSession)
        .where(BrowserSession.id == browser_id)
        .execution_options(synchronize_session=False)
    )
    # No login can start from it any more. Lock all sessions in one statement, before their status lists:
    # locking a session after a list could deadlock with a transaction that locks them in the other order.
    of_browser = select(Session.id).where(
        Session.browser_session_id == browser_id, Session.revoked_at.is_(None)
    )
    ids = {*db.session.scalars(of_browser), *logins}
    found = _find_unrevoked(Session.id.in_(ids), Session.user_id == user_id, limit=len(ids)) if ids else []
    count = len(_revoke_rows(found))
    record_on_commit("signed_out", actor=user_id, count=count)


def end_client_sessions(client_id: str) -> None:
    """Queue the status bits of all sessions of a removed client: they ended with its removal.

    The caller commits, and then calls `set_pending_bits`.
    """
    db.session.add(RevocationJob(client_id=client_id))
    _record_count(Session.client_id == client_id, client=client_id)


def end_all_sessions() -> None:
    """End every session of every user and client. The caller commits.

    All bits of the existing status lists count as set, and new sessions get their indexes in other lists.
    """
    # Browser sessions before status lists: the same order everywhere prevents deadlocks.
    db.session.execute(delete(BrowserSession).execution_options(synchronize_session=False))
    # A concurrent login may be starting another list. It holds the lock on the newest one, so once all lists
    # are locked here, the list that it started is visible.
    while lists := db.session.scalars(select(StatusList.id).where(StatusList.is_revoked.is_(False))).all():
        mark_changed(lists)
        db.session.execute(update(StatusList).where(StatusList.id.in_(lists)).values(is_revoked=True))
    record_on_commit("all_sessions_revoked")


_SURPLUS = (
    select(Session.id)
    .where(Session.user_id == bindparam("user"), Session.generation == bindparam("generation"))
    .where(Session.revoked_at.is_(None))
    .order_by(Session.created_at.desc())
    .offset(bindparam("keep"))
    .limit(_BATCH)
)


def end_oldest_sessions(user: User, keep: int) -> None:
    """End the oldest sessions of a user until `keep` are left, at most one batch. The caller commits."""
    which = {"user": user.id, "generation": user.session_generation, "keep": keep}
    ids = db.session.scalars(_SURPLUS, which).all()
    if ids and (count := len(_revoke(Session.id.in_(ids)))):
        record_on_commit("sessions_revoked", user=user.id, count=count)


def set_pending_bits(seconds: float = _TIME_LIMIT) -> None:
    """Set the status bits of ended sessions in batches, until none are pending or `seconds` have passed.

    Commits each batch. The next call, in any process, continues with the rest. A database error is logged
    and not raised: the sessions have ended, and this server refuses them with or without their bits.
    """
    deadline = time.monotonic() + seconds
    try:
        while _run_batch() and time.monotonic() < deadline:
            pass
    except SQLAlchemyError as error:
        db.session().invalidate()
        name = type(error).__name__
        _logger.warning("cannot set the status bits of ended sessions: %s: %s; retrying later", name, error)


def _run_batch() -> bool:
    """Set the bits of one batch, commit, and return whether there may be more."""
    oldest = select(RevocationJob).order_by(RevocationJob.id).limit(1)
    job = db.session.scalar(oldest.with_for_update(skip_locked=True))
    if job is None:
        return False
    candidates = _find_unrevoked(*_condition(job))
    _revoke_rows(candidates)
    # SQLite has no row locks, so another process may have revoked some of these. Whether the job is done
    # therefore depends on how many were found, not on how many were revoked here.
    if len(candidates) < _BATCH:
        db.session.execute(delete(RevocationJob).where(RevocationJob.id == job.id))
    db.session.commit()
    return True


def _condition(job: RevocationJob) -> tuple[ColumnElement[bool], ...]:
    if job.client_id is not None:
        return (Session.client_id == job.client_id,)
    generation = select(User.session_generation).where(User.id == job.user_id).scalar_subquery()
    return Session.user_id == job.user_id, Session.generation < generation


def _revoke(*which: ColumnElement[bool]) -> list[uuid.UUID]:
    """Revoke a batch of the sessions that meet every condition, and return their IDs."""
    return _revoke_rows(_find_unrevoked(*which))


def _find_unrevoked(*which: ColumnElement[bool], limit: int = _BATCH) -> Sequence[Row[uuid.UUID, int]]:
    # Lock the rows in the order of the index, so that two transactions cannot deadlock.
    rows = (
        select(Session.id, Session.status_list_id)
        .where(Session.revoked_at.is_(None), *which)
        .order_by(Session.user_id, Session.generation, Session.created_at)
        .limit(limit)
        .with_for_update(of=Session)
    )
    return db.session.execute(rows).all()


def _revoke_rows(rows: Iterable[Row[uuid.UUID, int]]) -> list[uuid.UUID]:
    by_list = defaultdict(list)
    for session_id, list_id in rows:
        by_list[list_id].append(session_id)
    now, marks = int(time.time()), mark_changed(by_list)
    revoked: list[uuid.UUID] = []
    for list_id, mark in marks.items():
        statement = (
            update(Session)
            .where(Session.id.in_(by_list[list_id]), Session.revoked_at.is_(None))
            .values(revoked_at=now, revocation_mark=mark)
            .returning(Session.id)
            .execution_options(synchronize_session=False)
        )
        revoked += db.session.scalars(statement).all()
    if revoked:
        _add_notices(revoked)
    return revoked


def _add_notices(session_ids: list[uuid.UUID]) -> None:
    """Queue a notice for each client that has a back-channel logout URI (Back-Channel Logout 1.0)."""
    columns = (Session.id, Session.user_id, Session.client_id, literal(0), literal(time.time()))
    concerned = (
        select(*columns)
        .join(Client, Client.id == Session.client_id)
        .where(Session.id.in_(session_ids), Session.user_id.is_not(None))
        .where(Client.backchannel_logout_uri.is_not(None), Client.removed_at.is_(None))
    )
    names = ["session_id", "user_id", "client_id", "attempts", "due_at"]
    added = insert(LogoutNotice).from_select(names, concerned).returning(LogoutNotice.id)
    if db.session.scalars(added).all():
        db.session().info[HAS_NOTICES] = True


def _record_count(*which: ColumnElement[bool], **owner: object) -> None:
    """Record on commit how many sessions ended, up to `_MAXIMUM_COUNT`."""
    some = select(Session.id).where(Session.revoked_at.is_(None), *which).limit(_MAXIMUM_COUNT)
    count = db.session.scalar(select(func.count()).select_from(some.subquery()))
    if count:
        more = {"or_more": True} if count == _MAXIMUM_COUNT else {}
        record_on_commit("sessions_revoked", count=count, **more, **owner)
