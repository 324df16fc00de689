"""Give each request an ID, by which what several services logged about it is found together."""

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, request

_HEADER = "X-Request-ID"
_ID_IN_WSGI = "shared.request_id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def init_app(app: Flask) -> None:
    """Take the ID that a request brings, or make one, and send it back with the answer."""
    inner = app.wsgi_app

    def add_id(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex
        environ[_ID_IN_WSGI] = request_id

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, (_HEADER, request_id)], exc_info)

        return inner(environ, start)

    app.wsgi_app = add_id  # type: ignore[method-assign]


def current_request_id() -> str:
    """Return the ID of the request that is under way."""
    request_id: str = request.environ[_ID_IN_WSGI]
    return request_id
