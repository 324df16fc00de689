"""A gunicorn worker that responds in our JSON error format to requests that gunicorn's parser refuses."""

import json
from contextlib import suppress
from http import HTTPStatus
from ssl import SSLError
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from shared.errors import describe_status
from shared.headers import DATA_HEADERS

_STATUSES = {
    errors.LimitRequestLine: 414,
    errors.ExpectationFailed: 417,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
    errors.ForbiddenProxyRequest: 403,
    # These are about the response, so the application is at fault.
    errors.InvalidResponseHeader: 500,
    errors.InvalidResponseHeaderName: 500,
    errors.ConfigurationProblem: 500,
}


class Worker(ThreadWorker):
    """A gthread worker whose own error responses look like those of the application."""

    def handle_error(self, _req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Send an error response, and log only the error's type: its message may quote the request."""
        status = _status_of(exc)
        if status == 500:
            self.log.error("Failed to respond to a request: %s", type(exc).__name__, exc_info=exc)
        else:
            address = addr[0] if addr else None  # a client of a Unix socket has no address
            self.log.warning("Refused a request from %s: %s", address, type(exc).__name__)
        with suppress(OSError):  # the client may have disconnected
            util.write_nonblock(client, _make_response(status))


def _status_of(exc: BaseException) -> int:
    refusal = 400 if isinstance(exc, (errors.ParseException, SSLError)) else 500
    return _STATUSES.get(type(exc), refusal)


def _make_response(status: int) -> bytes:
    error, description = describe_status(status)
    body = json.dumps({"error": error, "error_description": description}).encode()
    headers = DATA_HEADERS | {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
