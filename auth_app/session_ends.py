"""End sessions: one, or all of an owner or of everybody by a single small write.

Whatever ends is refused here at once. What other services see are bits in status lists: those of one session
are set at once too, and those of many follow in batches.
"""

import time
import uuid
from collections import defaultdict

from sqlalchemy import ColumnElement, delete, func, select, update

from auth_app.audit import record_on_commit
from auth_app.database import db
from auth_app.models import FIRST_PARTY, RevocationJob, Session, StatusList, User
from auth_app.status_indexes import mark_changed

_BATCH = 1000  # sessions whose bits are set in one transaction
_PATIENCE = 1.0  # seconds that a request spends on batches
_MAXIMUM_COUNT = 10_000  # sessions that are counted for the log


def end_session(session_id: uuid.UUID, **details: object) -> bool:
    """End a session and return whether it had not been revoked before; the caller commits."""
    ended = _revoke(Session.id == session_id)
    if ended:
        record_on_commit("session_revoked", session=session_id, **details)
    return bool(ended)


def end_user_sessions(user: User) -> int:
    """End all sessions of a user, and return the generation of those that begin from now on.

    The caller commits, and then calls `set_pending_bits`.
    """
    next_generation = (
        update(User)
        .where(User.id == user.id)
        .values(session_generation=User.session_generation + 1)
        .returning(User.session_generation)
    )
    generation = db.session.scalars(next_generation).one()
    db.session.add(RevocationJob(user_id=user.id))
    _record_count(Session.user_id == user.id, user=user.id)
    return generation


def end_client_sessions(client_id: str) -> None:
    """Have the bits set of all sessions that a removed client holds.

    The caller commits, and then calls `set_pending_bits`.
    """
    db.session.add(RevocationJob(client_id=client_id))
    _record_count(Session.client_id == client_id, Session.client_id != FIRST_PARTY, client=client_id)


def end_all_sessions() -> None:
    """End the sessions of everybody; the caller commits.

    All bits of the lists count as set, and no session begins in them any more.
    """
    lists = db.session.scalars(select(StatusList.id).where(StatusList.is_revoked.is_(False))).all()
    mark_changed(lists)
    db.session.execute(update(StatusList).where(StatusList.id.in_(lists)).values(is_revoked=True))
    record_on_commit("all_sessions_revoked")


def end_oldest_sessions(user_id: uuid.UUID, keep: int) -> None:
    """End the oldest sessions of a user until `keep` are left, a batch at the most; the caller commits."""
    surplus = (
        select(Session.id)
        .where(Session.user_id == user_id, Session.revoked_at.is_(None))
        .order_by(Session.created_at.desc())
        .offset(keep)
        .limit(_BATCH)
    )
    ids = db.session.scalars(surplus).all()
    if ids and (count := _revoke(Session.id.in_(ids))):
        record_on_commit("sessions_revoked", user=user_id, count=count)


def set_pending_bits(seconds: float = _PATIENCE) -> None:
    """Set the bits of sessions that have ended, in a transaction for each batch, for some time at the most.

    What is left is done by whoever calls this next. Nothing depends on it at this server.
    """
    deadline = time.monotonic() + seconds
    while _run_batch() and time.monotonic() < deadline:
        pass


def _run_batch() -> bool:
    """Set the bits of one batch, commit, and return whether there may be more to do."""
    oldest = select(RevocationJob).order_by(RevocationJob.id).limit(1)
    job = db.session.scalar(oldest.with_for_update(skip_locked=True))
    if job is None:
        return False
    if _revoke(*_condition(job)) < _BATCH:
        db.session.execute(delete(RevocationJob).where(RevocationJob.id == job.id))
    db.session.commit()
    return True


def _condition(job: RevocationJob) -> tuple[ColumnElement[bool], ...]:
    if job.client_id is not None:
        return Session.client_id == job.client_id, Session.client_id != FIRST_PARTY
    generation = select(User.session_generation).where(User.id == job.user_id).scalar_subquery()
    return Session.user_id == job.user_id, Session.generation < generation


def _revoke(*which: ColumnElement[bool]) -> int:
    """Revoke a batch of the sessions that fulfil every condition, oldest first, and return how many."""
    rows = (
        select(Session.id, Session.status_list_id)
        .where(Session.revoked_at.is_(None), *which)
        .order_by(Session.created_at)
        .limit(_BATCH)
        .with_for_update(of=Session)
    )
    by_list = defaultdict(list)
    for session_id, list_id in db.session.execute(rows):
        by_list[list_id].append(session_id)
    now, marks, count = int(time.time()), mark_changed(by_list), 0
    for list_id, ids in by_list.items():
        ended = db.session.scalars(
            update(Session)
            .where(Session.id.in_(ids), Session.revoked_at.is_(None))
            .values(revoked_at=now, revocation_mark=marks[list_id])
            .returning(Session.id)
            .execution_options(synchronize_session=False)
        )
        count += len(ended.all())
    return count


def _record_count(*which: ColumnElement[bool], **owner: object) -> None:
    some = select(Session.id).where(Session.revoked_at.is_(None), *which).limit(_MAXIMUM_COUNT)
    count = db.session.scalar(select(func.count()).select_from(some.subquery()))
    if count:
        record_on_commit("sessions_revoked", count=count, **owner)
