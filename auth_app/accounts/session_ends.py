"""End sessions: one, or all of an owner or of everybody by a single small write.

Whatever ends is refused here at once. What other services see are bits in status lists: those of one session
are set at once too, and those of many follow in batches.
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

HAS_NOTICES = "logout_notices"  # marks a transaction in which clients have to be told something

_BATCH = 1000  # sessions whose bits are set in one transaction
_PATIENCE = 1.0  # seconds that a request spends on batches
_MAXIMUM_COUNT = 10_000  # sessions that are counted for the log

_NEXT_GENERATION = (
    update(User)
    .where(User.id == bindparam("user"))
    .values(session_generation=User.session_generation + 1)
    .returning(User.session_generation)
    .execution_options(synchronize_session=False)
)
# Only a session of the generation that ends now is kept: one of an older generation has ended before.
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
# And the logins that came of the browser.
_KEEP_LOGINS = (
    update(Session)
    .where(Session.browser_session_id == bindparam("session"), Session.generation == bindparam("next") - 1)
    .where(Session.revoked_at.is_(None))
    .values(generation=bindparam("next"))
    .execution_options(synchronize_session=False)
)


def end_session(session_id: uuid.UUID, **details: object) -> bool:
    """End a session and return whether it had not been revoked before; the caller commits."""
    ended = bool(_revoke(Session.id == session_id))
    if ended:
        record_on_commit("session_revoked", session=session_id, **details)
    return ended


def end_user_sessions(user: User, *, keep: Session | BrowserSession | None = None) -> None:
    """End all sessions of a user, except a live one to `keep`, by one small write; those of browsers too.

    The caller commits, and then calls `set_pending_bits`. Raises `InvalidToken` when the session to keep
    has ended meanwhile.
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
    """Sign out of a browser: end its session, every login that came of it, and other `logins` of the user.

    The caller commits.
    """
    db.session.execute(
        delete(BrowserSession)
        .where(BrowserSession.id == browser_id)
        .execution_options(synchronize_session=False)
    )
    # No login can come of it any more. All of them in one statement: whoever locks sessions after a list that
    # they are in could wait for one who does it the other way round.
    of_browser = select(Session.id).where(
        Session.browser_session_id == browser_id, Session.revoked_at.is_(None)
    )
    ids = {*db.session.scalars(of_browser), *logins}
    found = _find_unrevoked(Session.id.in_(ids), Session.user_id == user_id, limit=len(ids)) if ids else []
    count = len(_revoke_rows(found))
    record_on_commit("signed_out", actor=user_id, count=count)


def end_client_sessions(client_id: str) -> None:
    """Have the bits set of all sessions that a removed client holds.

    The caller commits, and then calls `set_pending_bits`.
    """
    db.session.add(RevocationJob(client_id=client_id))
    _record_count(Session.client_id == client_id, client=client_id)


def end_all_sessions() -> None:
    """End the sessions of everybody; the caller commits.

    All bits of the lists count as set, and no session begins in them any more.
    """
    # Before the lists, as everything does that locks both.
    db.session.execute(delete(BrowserSession).execution_options(synchronize_session=False))
    # A login may be starting another list. It has locked the newest one, so that once all are locked here,
    # any list that it started can be seen.
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
    """End the oldest sessions of a user until `keep` are left, a batch at the most; the caller commits."""
    which = {"user": user.id, "generation": user.session_generation, "keep": keep}
    ids = db.session.scalars(_SURPLUS, which).all()
    if ids and (count := len(_revoke(Session.id.in_(ids)))):
        record_on_commit("sessions_revoked", user=user.id, count=count)


def set_pending_bits(seconds: float = _PATIENCE) -> None:
    """Set the bits of sessions that have ended, in a transaction for each batch, for some time at the most.

    Whoever calls this next does what is left. A failure of the database is logged and not raised, because
    the sessions have ended, and this server refuses them, whether their bits are set or not.
    """
    deadline = time.monotonic() + seconds
    try:
        while _run_batch() and time.monotonic() < deadline:
            pass
    except SQLAlchemyError as error:
        db.session().invalidate()
        _logger.warning("cannot set status bits yet: %s: %s", type(error).__name__, error)


def _run_batch() -> bool:
    """Set the bits of one batch, commit, and return whether there may be more to do."""
    oldest = select(RevocationJob).order_by(RevocationJob.id).limit(1)
    job = db.session.scalar(oldest.with_for_update(skip_locked=True))
    if job is None:
        return False
    candidates = _find_unrevoked(*_condition(job))
    _revoke_rows(candidates)
    # SQLite locks no rows, so that others may have revoked some of these. The job is done when none are left
    # to be found, not when few of those that were found had to be revoked.
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
    """Revoke a batch of the sessions that fulfil every condition, and return the IDs of those."""
    return _revoke_rows(_find_unrevoked(*which))


def _find_unrevoked(*which: ColumnElement[bool], limit: int = _BATCH) -> Sequence[Row[uuid.UUID, int]]:
    # Always in the order of the index, so that two who lock the same rows do not wait for each other.
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
    for list_id, ids in by_list.items():
        statement = (
            update(Session)
            .where(Session.id.in_(ids), Session.revoked_at.is_(None))
            .values(revoked_at=now, revocation_mark=marks[list_id])
            .returning(Session.id)
            .execution_options(synchronize_session=False)
        )
        revoked += db.session.scalars(statement).all()
    if revoked:
        _add_notices(revoked)
    return revoked


def _add_notices(session_ids: list[uuid.UUID]) -> None:
    """Have the clients told that want to know (OpenID Connect Back-Channel Logout 1.0)."""
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
    """Have it recorded how many sessions ended, counting to `_MAXIMUM_COUNT` and no further."""
    some = select(Session.id).where(Session.revoked_at.is_(None), *which).limit(_MAXIMUM_COUNT)
    count = db.session.scalar(select(func.count()).select_from(some.subquery()))
    if count:
        more = {"or_more": True} if count == _MAXIMUM_COUNT else {}
        record_on_commit("sessions_revoked", count=count, **more, **owner)
