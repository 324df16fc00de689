"""A gunicorn worker that idle connections cannot block, and that reports errors as JSON."""

import json
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from ssl import SSLError
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

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

_LONGEST_WAIT = 5  # seconds for the first byte of a new connection, and for a client to close its side
_DISCARDED = 64 * 1024  # bytes read at a time from a connection that is being closed


class Worker(ThreadWorker):
    """A gthread worker that idle connections cannot block, and that reports errors as JSON.

    In gunicorn 27.0.1, a new connection occupies a thread for 5 seconds if it sends nothing, and browsers
    connect in advance. If a client does not close a connection after `Connection: close`, the event loop,
    which serves all connections of the worker, waits for 2 seconds.
    """

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread once there is something to read from it."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
        else:
            self._watch(conn, self.on_pending_socket_readable)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections. A stopping worker closes its listeners at once.

        While they are open, the kernel accepts connections, and resets them when the worker exits.
        """
        super().set_accept_enabled(enabled)
        for listener in [] if self.alive else self.sockets:
            accepted = -1
            # Take what the kernel has accepted already, but not for as long as an attacker keeps connecting.
            while accepted != self.nr_conns < self.worker_connections:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Keep a connection for the next request, or close it."""
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
            return
        # Until the client closes its side, only ours is closed: closing a socket with unread data resets the
        # connection, and the client could lose the response (RFC 9112 section 9.6).
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._watch(conn, self._drain)
        except (OSError, ValueError, KeyError):  # the client has disconnected
            self._close(conn)

    def _watch(self, conn: Any, on_readable: Callable[[Any, Any], None]) -> None:
        """Call `on_readable` when there is something to read; `murder_pending` closes what takes too long."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + (_LONGEST_WAIT if self.alive else STOP_KEEPALIVE_LINGER)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(on_readable, conn))
        self.pending_conns.append(conn)

    def _drain(self, conn: Any, client: socket.socket) -> None:
        """Discard what the client sends; close the connection if the client has done so."""
        try:
            if client.recv(_DISCARDED):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        self._close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Let a stopping worker wait no longer for other idle connections than for kept-alive ones."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

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
