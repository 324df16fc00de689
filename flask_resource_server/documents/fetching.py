"""GET documents over HTTP within a deadline, whatever the server or a proxy does."""

import contextlib
import importlib.metadata
import socket
import ssl
import threading
import time
import zlib
from functools import cache
from http.client import HTTPConnection, HTTPResponse
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from flask_resource_server.documents.proxies import Proxy, choose_proxy

TIMEOUT = 3  # seconds for a fetch: name resolution, connecting to each address, proxy, TLS, headers and body
MAXIMUM_ABANDONED = 3  # threads of a Fetcher that still run after their deadline

_DISTRIBUTION = "flask-resource-server"

_Socket = TypeVar("_Socket", bound=socket.socket)


class FetchError(Exception):
    """A document that could not be fetched."""


class RefusedFetch(FetchError):
    """The server has answered with a 4xx status: the document does not exist, or is not for us."""


class Fetcher:
    """GETs documents of a media type, of at most `maximum` bytes. Not thread-safe.

    It remembers ETags, so that an unchanged document is not sent again (RFC 9110 section 13.1.2). `proxy` is
    the URL of an HTTP proxy, http://[user:password@]host:port; "environment" for what HTTP_PROXY, HTTPS_PROXY
    and NO_PROXY say; or None for no proxy, whatever the environment says. Raises `ConfigurationError`.
    """

    def __init__(self, media_type: str, maximum: int, proxy: str | None = None) -> None:
        self._media_type = media_type
        self._maximum = maximum
        self._choose_proxy = choose_proxy(proxy)
        self._known: dict[str, tuple[str, bytes]] = {}  # by URL: an ETag and the body that it stands for
        self._round: set[str] = set()  # the URLs that were asked for since one was asked for twice
        self._abandoned: list[_Get] = []

    def fetch(self, url: str) -> bytes:
        """Return the document at a URL, which must answer with status 200; redirects are not followed.

        Raises within `TIMEOUT` seconds: `FetchError`, `ConfigurationError` for an unusable proxy in the
        environment, or what Python raises for the network.
        """
        self._forget_unused(url)
        tag, known = self._known.get(url, ("", b""))
        headers = {
            "Accept": f"{self._media_type}, application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": _user_agent(),
        }
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

    def _forget_unused(self, url: str) -> None:
        """Forget what the last round of fetches did not ask for. A URL that returns starts a new round."""
        if url in self._round:
            self._known = {known: self._known[known] for known in self._round if known in self._known}
            self._round = set()
        self._round.add(url)

    def _get(self, url: str, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        self._abandoned = [get for get in self._abandoned if get.is_alive()]
        if len(self._abandoned) >= MAXIMUM_ABANDONED:
            raise FetchError(f"{len(self._abandoned)} earlier fetches have not ended yet")
        get = _Get(url, headers, self._maximum + 1, self._choose_proxy(urlsplit(url)))
        get.start()
        get.join(TIMEOUT)
        if get.is_alive():
            self._abandoned.append(get)
            get.abandon()
        return get.result()


class _Get(threading.Thread):
    """One GET in a thread of its own.

    Name resolution has no timeout, and a socket's timeout starts anew with each packet.
    """

    def __init__(self, url: str, headers: dict[str, str], maximum: int, proxy: Proxy | None) -> None:
        super().__init__(name=f"GET {url}", daemon=True)
        self._url = urlsplit(url)
        self._headers = headers
        self._maximum = maximum
        self._proxy = proxy
        self._deadline = time.monotonic() + TIMEOUT
        self._socket: socket.socket | None = None
        self._is_abandoned = False
        self._response: tuple[HTTPResponse, bytes] | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Make the request, and keep the response or the exception for `result`."""
        try:
            self._response = self._request()
        except Exception as error:
            self._error = error
        finally:
            if self._socket:
                self._socket.close()

    def abandon(self) -> None:
        """Shut the socket down, so that the thread stops waiting for it and ends."""
        self._is_abandoned = True
        if self._socket:
            with contextlib.suppress(OSError):  # it is not connected yet, or closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def result(self) -> tuple[HTTPResponse, bytes]:
        """Return the response and its body, or raise what the thread has caught."""
        route = f"through the proxy {self._proxy}: " if self._proxy else ""
        if self._is_abandoned:  # a socket that was shut down raises various things, and none of them helps
            raise FetchError(f"{route}no complete answer within {TIMEOUT} seconds")
        if route and isinstance(self._error, OSError):  # it does not say which of the two hosts it is about
            raise FetchError(f"{route}{type(self._error).__name__}: {self._error}") from self._error
        if self._error:
            raise self._error
        assert self._response
        return self._response

    def _request(self) -> tuple[HTTPResponse, bytes]:
        with contextlib.closing(HTTPConnection(self._url.hostname or "", self._url.port)) as connection:
            connection.sock = self._connect()
            target, headers = self._request_target()
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as response:
                if self._proxy and response.status == 407:
                    raise FetchError(self._proxy.explain(407))
                return response, response.read(self._maximum)

    def _request_target(self) -> tuple[str, dict[str, str]]:
        """Return the request target, and the headers (RFC 9112 sections 3.2.1 and 3.2.2)."""
        host = self._url.netloc.rpartition("@")[2]
        path = urlunsplit(("", "", self._url.path or "/", self._url.query, ""))
        headers = self._headers | {"Host": host}
        if self._proxy and self._url.scheme == "http":
            return f"http://{host}{path}", headers | self._proxy.headers
        return path, headers

    def _connect(self) -> socket.socket:
        """Connect to the first address that answers; each is given its share of the time that is left."""
        host, port = self._url.hostname, self._url.port or (443 if self._url.scheme == "https" else 80)
        if self._proxy:
            host, port = self._proxy.host, self._proxy.port
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        errors: list[Exception] = []
        for count, (family, kind, protocol, _, address) in enumerate(addresses):
            candidate = self._use(socket.socket(family, kind, protocol))
            candidate.settimeout(max(0.1, self._deadline - time.monotonic()) / (len(addresses) - count))
            try:
                candidate.connect(address)
                candidate.settimeout(2 * TIMEOUT)  # never reached: `abandon` comes first
                return self._secure(candidate)
            except OSError as error:
                candidate.close()
                errors.append(error)
        raise errors[0]

    def _secure(self, connected: socket.socket) -> socket.socket:
        if self._url.scheme != "https":
            return connected
        if self._proxy and (status := self._proxy.open_tunnel(connected, self._url)) != 200:
            raise FetchError(self._proxy.explain(status))
        # The handshake comes after `_use`, so that `abandon` can end one that the server never completes.
        secured = ssl.create_default_context().wrap_socket(
            connected, server_hostname=self._url.hostname, do_handshake_on_connect=False
        )
        self._use(secured).do_handshake()
        return secured

    def _use(self, used: _Socket) -> _Socket:
        """Let `abandon` know which socket to shut down; close it if `abandon` came first."""
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


@cache
def _user_agent() -> str:
    try:
        return f"{_DISTRIBUTION}/{importlib.metadata.version(_DISTRIBUTION)}"
    except importlib.metadata.PackageNotFoundError:  # a source tree that was not installed
        return _DISTRIBUTION
