"""Record what happens to users, clients, sessions and keys: one line of JSON each, and no secret in any."""

import json
import logging
import os
import time
from typing import TextIO, cast

from flask import has_request_context, request
from flask.logging import has_level_handler, wsgi_errors_stream
from flask_jwt_extended import get_jwt

from shared.request_id import current_request_id

_logger = logging.getLogger("audit")


def init_app() -> None:
    """Write to standard error what no other handler would write."""
    _logger.setLevel(logging.INFO)
    if not has_level_handler(_logger):
        _logger.addHandler(logging.StreamHandler(cast("TextIO", wsgi_errors_stream)))


def record(event: str, *, actor: object = None, **details: object) -> None:
    """Log an event: when, what, who, from where, in which request, and the IDs of what it was done to.

    `actor` is the ID of a user or a client. Where it is left out, it is whose token the request carries, or
    who runs the command.
    """
    where = (
        {"address": request.remote_addr, "request_id": current_request_id()}
        if has_request_context()
        else {"address": None, "request_id": None}
    )
    line = {"time": _now(), "event": event, "actor": actor or _actor(), **where, **details}
    _logger.info(json.dumps(line, default=str))


def _actor() -> str | None:
    if not has_request_context():
        return f"command line, uid {os.getuid()}"
    try:
        return get_jwt().get("sub")
    except RuntimeError:  # no token was asked for
        return None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
