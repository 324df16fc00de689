"""Give each session a place in a Token Status List, where verifiers see whether it was revoked."""

import secrets
from collections.abc import Iterable

from sqlalchemy import bindparam, delete, exists, select, update

from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Session, StatusList

_CANDIDATES = 32  # places that are tried: when all are taken, a list is so full that the next one is begun

_RETENTION = 3600  # seconds for which a closed list stays though it is empty: a login may just be under way

_NEWEST = select(StatusList).order_by(StatusList.id.desc()).limit(1)
_TAKEN = select(Session.status_index).where(
    Session.status_list_id == bindparam("list"), Session.status_index.in_(bindparam("places", expanding=True))
)


def take_place(now: int) -> tuple[int, int]:
    """Return a list and an index in it that no session has, and none ever had; the caller commits.

    Places are given out at random, for they shall not tell who logged in after whom.
    """
    # One login at a time: the row is locked until the commit.
    newest = db.session.scalar(_NEWEST.with_for_update(key_share=True))
    if newest and now < newest.closes_at:
        candidates = {secrets.randbelow(newest.size) for _ in range(_CANDIDATES)}
        parameters = {"list": newest.id, "places": list(candidates)}
        if free := candidates.difference(db.session.scalars(_TAKEN, parameters)):
            return newest.id, free.pop()
    newest = _begin_list(now)
    return newest.id, secrets.randbelow(newest.size)


def list_ids(now: int) -> list[int]:
    """Return the lists that there are: at least one, that it be known before a token refers to it."""
    if db.session.scalar(_NEWEST) is None:
        _begin_list(now)
        db.session.commit()
    return list(db.session.scalars(select(StatusList.id).order_by(StatusList.id)))


def _begin_list(now: int) -> StatusList:
    settings = current_settings()
    # It closes before the first of its sessions can be deleted: so no place is ever given out twice.
    closes_at = now + settings.refresh_token_lifetime
    db.session.execute(
        delete(StatusList)
        .where(StatusList.closes_at < now - _RETENTION)
        .where(~exists().where(Session.status_list_id == StatusList.id))
        .execution_options(synchronize_session=False)
    )
    newest = StatusList(size=settings.status_list_size, closes_at=closes_at)
    db.session.add(newest)
    db.session.flush()
    return newest


def mark_changed(lists: Iterable[int]) -> None:
    """Have lists rebuilt in which sessions were revoked: in the transaction that revokes them."""
    db.session.execute(
        update(StatusList).where(StatusList.id.in_(set(lists))).values(version=StatusList.version + 1)
    )
