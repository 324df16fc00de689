"""Make one HTTP request in a thread that can be abandoned at a deadline, whatever the server does."""

import contextlib
import socket
import ssl
import threading
import time
from typing import Generic, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
_Socket = TypeVar("_Socket", bound=socket.socket)


class Exchange(threading.Thread, Generic[T]):
    """One request in a thread of its own. The caller waits `timeout` seconds, and then calls `abandon`.

    A thread is needed because name resolution has no timeout, and because a socket's timeout starts again
    with each packet. Subclasses implement `exchange`.
    """

    def __init__(self, method: str, url: str, timeout: float) -> None:
        super().__init__(name=f"{method} {url}", daemon=True)
        self.url = urlsplit(url)
        self.host = self.url.hostname or ""
        self.port = self.url.port or (443 if self.url.scheme == "https" else 80)
        self.is_abandoned = False
        self.error: Exception | None = None
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._socket: socket.socket | None = None
        self._outcome: list[T] = []

    def exchange(self) -> T:
        """Make the request over the socket that `connect` returns, and return its result."""
        raise NotImplementedError

    def check_address(self, address: str) -> None:
        """Raise `OSError` to refuse an address that the host resolves to. By default all are allowed."""

    def run(self) -> None:
        """Make the request, and keep its result or error for `result`."""
        try:
            self._outcome.append(self.exchange())
        except Exception as error:
            self.error = error
        finally:
            if self._socket:
                self._socket.close()

    def abandon(self) -> None:
        """Shut the socket down, so that the thread stops waiting and ends."""
        self.is_abandoned = True
        if self._socket:
            with contextlib.suppress(OSError):  # it is not connected yet, or already closed
                self._socket.shutdown(socket.SHUT_RDWR)

    def result(self) -> T:
        """Return the result of `exchange`, or raise its error, or `TimeoutError` if it was abandoned."""
        if self.is_abandoned:  # a socket that was shut down raises various errors; none of them helps
            raise TimeoutError(f"no complete response within {self._timeout:g} seconds")
        if self.error:
            raise self.error
        return self._outcome[0]

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address that answers. Each gets an equal share of the time that is left.

        `check_address` sees all addresses before any is used, and the name is not resolved again: it could
        resolve to another address a moment later.
        """
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *_, address in addresses:
            self.check_address(str(address[0]))
        errors: list[Exception] = []
        for count, (family, kind, protocol, _, address) in enumerate(addresses):
            candidate = self._use(socket.socket(family, kind, protocol))
            candidate.settimeout(max(0.1, self._deadline - time.monotonic()) / (len(addresses) - count))
            try:
                candidate.connect(address)
                candidate.settimeout(2 * self._timeout)  # never expires: `abandon` comes first
                return self.secure(candidate)
            except OSError as error:
                candidate.close()
                errors.append(error)
        raise errors[0]

    def secure(self, connected: socket.socket) -> socket.socket:
        """Return the connected socket, wrapped in TLS if the URL is an https one."""
        if self.url.scheme != "https":
            return connected
        # The handshake comes after `_use`, so that `abandon` can stop one that the server never completes.
        secured = ssl.create_default_context().wrap_socket(
            connected, server_hostname=self.host, do_handshake_on_connect=False
        )
        self._use(secured).do_handshake()
        return secured

    def _use(self, used: _Socket) -> _Socket:
        """Register the socket that `abandon` shuts down; close it if `abandon` was called already."""
        self._socket = used
        if self.is_abandoned:
            used.close()
            raise OSError("abandoned")
        return used
