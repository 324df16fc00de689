"""Give each request an ID, for log lines and the response, which correlates the logs of several services.

It is taken from `X-Request-ID`, or from `traceparent` (W3C Trace Context section 3.2), or is a new one.
"""

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, has_request_context, request

_HEADER = "X-Request-ID"
_ID_IN_WSGI = "shared.request_id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(r"00-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def init_app(app: Flask) -> None:
    """Take the ID from the request or create one, and add it to the response."""
    inner = app.wsgi_app

    def add_id(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request_id = environ[_ID_IN_WSGI] = _read_id(environ) or uuid.uuid4().hex

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, (_HEADER, request_id)], exc_info)

        return inner(environ, start)

    app.wsgi_app = add_id  # type: ignore[method-assign]


def _read_id(environ: dict[str, Any]) -> str | None:
    given = environ.get("HTTP_X_REQUEST_ID", "")
    if _WELL_FORMED.fullmatch(given):
        return str(given)
    trace = _TRACE.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    return trace[1] if trace else None


def current_request_id() -> str | None:
    """Return the ID of the current request; None outside a request or without this module's `init_app`."""
    return request.environ.get(_ID_IN_WSGI) if has_request_context() else None
