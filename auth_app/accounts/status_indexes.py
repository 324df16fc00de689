"""Give each session an index in a Token Status List, where verifiers see whether it was revoked."""

import secrets
import time
import uuid
from collections.abc import Iterable

from sqlalchemy import bindparam, case, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Session, StatusList

_CANDIDATES = 32  # indexes that are tried: when all are taken, a list is so full that the next one is begun
_RETENTION = 3600  # seconds for which a closed list stays though it is empty: a login may just be under way
_EPOCH = 1_700_000_000  # list IDs begin at this time, so that they have nine digits
_TICK = 0.001  # seconds between two changes of a list at the least, so that each has a time of its own

_NEWEST = (
    select(StatusList)
    .order_by(StatusList.id.desc())
    .limit(1)
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)
_NEWEST_ID = select(func.max(StatusList.id))
_TAKEN = select(Session.status_index).where(
    Session.status_list_id == bindparam("list"),
    Session.status_index.in_(bindparam("indexes", expanding=True)),
)
_MARK = (
    update(StatusList)
    .where(StatusList.id == bindparam("list"))
    .values(
        version=bindparam("new_version"),
        # Later than the last change, even if the clock of the replica that made it is ahead of ours.
        changed_at=case(
            (StatusList.changed_at >= bindparam("now"), StatusList.changed_at + _TICK),
            else_=bindparam("now"),
        ),
    )
    .returning(StatusList.changed_at)
    .execution_options(synchronize_session=False)
)


def reserve_index(now: int) -> tuple[int, int]:
    """Return a list and an index in it that no session has, and none ever had; the caller commits.

    Indexes are random, so that they do not tell who logged in after whom.
    """
    newest = _lock_newest()
    if newest and now < newest.closes_at and not newest.is_revoked:
        candidates = {secrets.randbelow(newest.size) for _ in range(_CANDIDATES)}
        parameters = {"list": newest.id, "indexes": list(candidates)}
        if free := candidates.difference(db.session.scalars(_TAKEN, parameters)):
            return newest.id, free.pop()
    newest = _begin_list(now, newest)
    return newest.id, secrets.randbelow(newest.size)


def list_ids(now: int) -> list[int]:
    """Return the lists that exist: at least one, so that it is known before a token refers to it.

    Commits when it had to begin the first list.
    """
    ids = select(StatusList.id).order_by(StatusList.id)
    if not (found := db.session.scalars(ids).all()):
        _begin_list(now, None)
        db.session.commit()
        found = db.session.scalars(ids).all()
    return list(found)


def mark_changed(lists: Iterable[int]) -> dict[int, float]:
    """Give lists in which sessions are being revoked a new version, and return the time of each change.

    The rows stay locked until the commit, so that the changes of a list become visible in the order of their
    times: whoever has seen one has seen all before it.
    """
    parameters = {"new_version": uuid.uuid4().hex, "now": time.time()}
    return {
        list_id: db.session.scalars(_MARK, {"list": list_id, **parameters}).one()
        for list_id in sorted(set(lists))
    }


def _lock_newest() -> StatusList | None:
    """Return the newest list, locked until the commit: one login at a time reserves an index."""
    while True:
        newest = db.session.scalar(_NEWEST)
        # Who has waited for the lock is given the list that was the newest before the wait.
        if newest is None or newest.id == db.session.scalar(_NEWEST_ID):
            return newest


def _begin_list(now: int, newest: StatusList | None) -> StatusList:
    """Begin the list after `newest`, which is locked, or the very first one."""
    settings = current_settings()
    db.session.execute(
        delete(StatusList)
        .where(StatusList.closes_at < now - _RETENTION)
        .where(~exists().where(Session.status_list_id == StatusList.id))
        .execution_options(synchronize_session=False)
    )
    begun = StatusList(
        # From the clock: a number that was lost with a database is not given to another list later.
        id=max(now - _EPOCH, newest.id + 1) if newest else 1,
        size=settings.status_list_size,
        # It closes before the first of its sessions can be deleted: so no index is ever given out twice.
        closes_at=now + settings.refresh_token_lifetime,
    )
    try:
        with db.session.begin_nested():
            db.session.add(begun)
    except IntegrityError:  # there was no list to lock, and another login has begun the first one
        first = _lock_newest()
        assert first, "it is there"
        return first
    return begun
