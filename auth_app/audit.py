"""Write the audit log: one line of JSON for each event, without secrets."""

import json
import logging
import os
import time
from collections.abc import Callable
from functools import partial

from flask import has_request_context, request
from flask_jwt_extended import get_jwt
from sqlalchemy import event
from sqlalchemy.orm import Session

from auth_app.database import db
from shared.logs import format_time
from shared.request_id import current_request_id

_logger = logging.getLogger("audit")


def init_app() -> None:
    """Enable the audit log. Events go where the application's log goes."""
    _logger.setLevel(logging.INFO)


def record(name: str, *, actor: object = None, **details: object) -> None:
    """Log an event now, with its time, actor, address and request ID.

    `details` are the IDs of what was affected, and must hold no secret. `actor` is the ID of a user or a
    client. It defaults to the subject of the request's token, or to the system user who runs the command.
    """
    line = {
        "time": format_time(time.time()),
        "event": name,
        "actor": actor or _actor(),
        "address": request.remote_addr if has_request_context() else None,
        "request_id": current_request_id(),
        **details,
    }
    _logger.info(json.dumps(line, default=str), extra={"is_json": True})


def record_on_commit(name: str, *, actor: object = None, **details: object) -> None:
    """Log an event once the current transaction is committed, and not at all if it is rolled back."""
    _pending(db.session()).append(partial(record, name, actor=actor, **details))


@event.listens_for(db.session, "after_commit")
def _record_pending(session: Session) -> None:
    events = _pending(session).copy()
    _pending(session).clear()
    for record_event in events:
        record_event()


@event.listens_for(db.session, "after_rollback")
def _forget_pending(session: Session) -> None:
    _pending(session).clear()


def _pending(session: Session) -> list[Callable[[], None]]:
    pending: list[Callable[[], None]] = session.info.setdefault("audit", [])
    return pending


def _actor() -> str | None:
    if not has_request_context():
        return f"command line, uid {os.getuid()}"
    try:
        return get_jwt().get("sub")
    except RuntimeError:  # the view does not verify a token
        return None
