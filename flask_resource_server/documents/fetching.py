"""GET documents over HTTP within a deadline, whatever the other side does."""

import contextlib
import socket
import ssl
import threading
import time
import zlib
from http.client import HTTPConnection, HTTPResponse
from typing import TypeVar
from urllib.parse import urlsplit

TIMEOUT = 3  # seconds for a fetch: name resolution, connecting to each address, TLS, headers and body
MAXIMUM_ABANDONED = 3  # fetches past their deadline that have not ended yet, for each Fetcher

_Socket = TypeVar("_Socket", bound=socket.socket)


class FetchError(Exception):
    """A document that could not be fetched."""


class RefusedFetch(FetchError):
    """The server has answered, with a 4xx: what is asked for is not there, or not for us."""


class Fetcher:
    """GETs documents of a media type, of `maximum` bytes at the most, for one thread at a time.

    It remembers ETags, so that an unchanged document is not sent again (RFC 9110 section 13.1.2).
    """

    def __init__(self, media_type: str, maximum: int, proxy: str | None = None) -> None:  # noqa: ARG002
        self._media_type = media_type
        self._maximum = maximum
        self._known: dict[str, tuple[str, bytes]] = {}  # by URL: an ETag and the body that it stands for
        self._abandoned: list[_Get] = []

    def fetch(self, url: str) -> bytes:
        """Return the body of the 200 answer at a URL, without following redirects.

        Raises within `TIMEOUT` seconds: `FetchError`, or what Python raises for the network.
        """
        tag, known = self._known.get(url, ("", b""))
        headers = {"Accept": f"{self._media_type}, application/json", "Accept-Encoding": "gzip"}
        response, body = self._get(url, headers | ({"If-None-Match": tag} if tag else {}))
        if response.status == 304 and tag:
            return known
        if response.status != 200:
            kind = RefusedFetch if 400 <= response.status < 500 else FetchError
            raise kind(f"the status is {response.status}, not 200")
        if response.headers.get("Content-Encoding") == "gzip":
            body = _unpack(body, self._maximum + 1)
        if len(body) > self._maximum:
            raise FetchError(f"the body has more than {self._maximum} bytes")
        self._known[url] = response.headers.get("ETag", ""), body
        return body

    def _get(self, url: str, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        self._abandoned = [get for get in self._abandoned if get.is_alive()]
        if len(self._abandoned) >= MAXIMUM_ABANDONED:
            raise FetchError(f"{len(self._abandoned)} earlier fetches have not ended yet")
        get = _Get(url, headers, self._maximum + 1)
        get.start()
        get.join(TIMEOUT)
        if get.is_alive():
            self._abandoned.append(get)
            get.abandon()
        return get.result()


class _Get(threading.Thread):
    """One GET in a thread of its own: name resolution has no timeout, and a socket's is for each packet."""

    def __init__(self, url: str, headers: dict[str, str], maximum: int) -> None:
        super().__init__(name=f"GET {url}", daemon=True)
        self._url = urlsplit(url)
        self._headers = headers
        self._maximum = maximum
        self._deadline = time.monotonic() + TIMEOUT
        self._socket: socket.socket | None = None
        self._is_abandoned = False
        self._response: tuple[HTTPResponse, bytes] | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Make the request, and keep what came of it."""
        try:
            self._response = self._request()
        except Exception as error:  # raised again by `result`
            self._error = error
        finally:
            if self._socket:
                self._socket.close()

    def abandon(self) -> None:
        """Let the thread end as soon as it can: whatever waits for the socket stops waiting."""
        self._is_abandoned = True
        if self._socket:
            with contextlib.suppress(OSError):  # it is not connected yet, or closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def result(self) -> tuple[HTTPResponse, bytes]:
        """Return response and body. Raises what went wrong."""
        if self._is_abandoned:  # what a socket raises that was shut down varies, and means nothing
            raise FetchError(f"no complete answer within {TIMEOUT} seconds")
        if self._error:
            raise self._error
        assert self._response
        return self._response

    def _request(self) -> tuple[HTTPResponse, bytes]:
        with contextlib.closing(HTTPConnection(self._url.hostname or "", self._url.port)) as connection:
            connection.sock = self._connect()
            headers = self._headers | {"Host": self._url.netloc}
            connection.request("GET", self._url.path or "/", headers=headers)
            with connection.getresponse() as response:
                return response, response.read(self._maximum)

    def _connect(self) -> socket.socket:
        """Connect to the first address that answers; each is given its share of the time that is left."""
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        addresses = socket.getaddrinfo(self._url.hostname, port, type=socket.SOCK_STREAM)
        errors: list[Exception] = []
        for count, (family, kind, protocol, _, address) in enumerate(addresses):
            candidate = self._use(socket.socket(family, kind, protocol))
            candidate.settimeout(max(0.1, self._deadline - time.monotonic()) / (len(addresses) - count))
            try:
                candidate.connect(address)
                candidate.settimeout(2 * TIMEOUT)  # never reached, for `abandon` comes first
                return self._secure(candidate)
            except OSError as error:
                candidate.close()
                errors.append(error)
        raise errors[0]

    def _secure(self, connected: socket.socket) -> socket.socket:
        if self._url.scheme != "https":
            return connected
        # The handshake comes after `_use`, so that `abandon` can end one that the server never completes.
        secured = ssl.create_default_context().wrap_socket(
            connected, server_hostname=self._url.hostname, do_handshake_on_connect=False
        )
        self._use(secured).do_handshake()
        return secured

    def _use(self, used: _Socket) -> _Socket:
        """Tell `abandon` which socket to shut down, or close it if `abandon` came first."""
        self._socket = used
        if self._is_abandoned:
            used.close()
            raise FetchError("abandoned")
        return used


def _unpack(body: bytes, maximum: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(body, maximum)
    except zlib.error:
        raise FetchError("the body is not gzip, although Content-Encoding says so") from None
