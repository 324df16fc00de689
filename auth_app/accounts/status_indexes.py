"""Reserve an index in a Token Status List for each session, and version the lists when sessions end."""

import secrets
import time
import uuid
from collections.abc import Iterable

from sqlalchemy import bindparam, case, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Session, StatusList

_CANDIDATES = 32  # random indexes to try; if all are taken, the list is nearly full and the next one begins
_RETENTION = 3600  # seconds to keep a closed, empty list: a login that is in progress may still use it
_EPOCH = 1_700_000_000  # list IDs count seconds from here, so that they have at most nine digits
_TICK = 0.001  # the least seconds between two changes of a list, so that each change has a time of its own

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
        # Later than the last change, even if the replica that made it has a clock ahead of ours.
        changed_at=case(
            (StatusList.changed_at >= bindparam("now"), StatusList.changed_at + _TICK),
            else_=bindparam("now"),
        ),
    )
    .returning(StatusList.changed_at)
    .execution_options(synchronize_session=False)
)


def reserve_index(now: int) -> tuple[int, int]:
    """Return the ID of a list, and an index in it that no session has or ever had. The caller commits.

    Indexes are random, so that they do not reveal the order of logins.
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
    """Return the IDs of all lists: at least one, so that verifiers know it before a token refers to it.

    Commits if it creates the first list.
    """
    ids = select(StatusList.id).order_by(StatusList.id)
    if not (found := db.session.scalars(ids).all()):
        _begin_list(now, None)
        db.session.commit()
        found = db.session.scalars(ids).all()
    return list(found)


def mark_changed(lists: Iterable[int]) -> dict[int, float]:
    """Give a new version to lists in which sessions are being revoked, and return the time of each change.

    A list that has been deleted in the meantime, with its last session, is left out. The rows stay locked
    until the commit, so that the changes of a list become visible in the order of their times: a reader that
    sees one change sees all earlier ones.
    """
    parameters = {"new_version": uuid.uuid4().hex, "now": time.time()}
    times = {
        list_id: db.session.scalar(_MARK, {"list": list_id, **parameters}) for list_id in sorted(set(lists))
    }
    return {list_id: changed_at for list_id, changed_at in times.items() if changed_at is not None}


def _lock_newest() -> StatusList | None:
    """Return the newest list, locked until the commit: one login at a time reserves an index."""
    while True:
        newest = db.session.scalar(_NEWEST)
        # If this waited for the lock, the row is the one that was the newest before the wait.
        if newest is None or newest.id == db.session.scalar(_NEWEST_ID):
            return newest


def _begin_list(now: int, newest: StatusList | None) -> StatusList:
    """Create the list after `newest`, which is locked, or the very first one."""
    settings = current_settings()
    db.session.execute(
        delete(StatusList)
        .where(StatusList.closes_at < now - _RETENTION)
        .where(~exists().where(Session.status_list_id == StatusList.id))
        .execution_options(synchronize_session=False)
    )
    begun = StatusList(
        # From the clock, so that an ID that was lost with a database is not reused for another list.
        id=max(now - _EPOCH, newest.id + 1) if newest else 1,
        size=settings.status_list_size,
        # Closed before the first of its sessions can be deleted, so that no index is ever used twice.
        closes_at=now + settings.refresh_token_lifetime,
    )
    try:
        with db.session.begin_nested():
            db.session.add(begun)
    except IntegrityError:  # there was no list to lock, and another login has created the first one
        first = _lock_newest()
        assert first, "the other login has created it"
        return first
    return begun
