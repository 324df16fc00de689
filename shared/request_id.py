"""Give each request an ID, by which what several services logged about it is found together."""

import re
import uuid

from flask import Flask, Response, g, request

_HEADER = "X-Request-ID"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def init_app(app: Flask) -> None:
    """Take the ID that a request brings, or make one, and send it back with the answer."""
    app.before_request(_take_or_make)
    app.after_request(_send_back)


def _take_or_make() -> None:
    given = request.headers.get(_HEADER, "")
    g.request_id = given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex


def _send_back(response: Response) -> Response:
    response.headers[_HEADER] = g.request_id
    return response
