"""Make an HTTP request within a deadline, whatever the server does."""

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
    """One request in a thread of its own, which whoever waits for it may abandon after `timeout` seconds.

    Name resolution has no timeout, and a socket's timeout starts anew with each packet. A subclass says in
    `exchange` what is sent and returned.
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
        """Make the request over what `connect` returns, and return what came of it."""
        raise NotImplementedError

    def check_address(self, address: str) -> None:
        """Refuse an address that the host resolves to, by raising `OSError`; by default none is refused."""

    def run(self) -> None:
        """Make the request, and keep what came of it for `result`."""
        try:
            self._outcome.append(self.exchange())
        except Exception as error:
            self.error = error
        finally:
            if self._socket:
                self._socket.close()

    def abandon(self) -> None:
        """Shut the socket down, so that the thread stops waiting for it and ends."""
        self.is_abandoned = True
        if self._socket:
            with contextlib.suppress(OSError):  # it is not connected yet, or closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def result(self) -> T:
        """Return what `exchange` has returned, or raise what it has raised; `TimeoutError` if abandoned."""
        if self.is_abandoned:  # a socket that was shut down raises various things, and none of them helps
            raise TimeoutError(f"no complete answer within {self._timeout:g} seconds")
        if self.error:
            raise self.error
        return self._outcome[0]

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address that answers; each is given its share of the time that is left.

        The addresses are looked at first: a name may lead elsewhere a moment later.
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
                candidate.settimeout(2 * self._timeout)  # never reached: `abandon` comes first
                return self.secure(candidate)
            except OSError as error:
                candidate.close()
                errors.append(error)
        raise errors[0]

    def secure(self, connected: socket.socket) -> socket.socket:
        """Return a connected socket as the URL's scheme asks for it."""
        if self.url.scheme != "https":
            return connected
        # The handshake comes after `_use`, so that `abandon` can end one that the server never completes.
        secured = ssl.create_default_context().wrap_socket(
            connected, server_hostname=self.host, do_handshake_on_connect=False
        )
        self._use(secured).do_handshake()
        return secured

    def _use(self, used: _Socket) -> _Socket:
        """Let `abandon` know which socket to shut down; close it if `abandon` came first."""
        self._socket = used
        if self.is_abandoned:
            used.close()
            raise OSError("abandoned")
        return used
