"""Fetch documents over HTTP within a deadline, whatever the server or a proxy does."""

import contextlib
import importlib.metadata
import socket
import zlib
from functools import cache
from http.client import HTTPConnection, HTTPResponse
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from flask_resource_server.documents.exchange import Exchange
from flask_resource_server.documents.proxies import Proxy, choose_proxy

TIMEOUT = 3  # seconds for a whole fetch: name resolution, all addresses, proxy, TLS, headers and body
MAXIMUM_ABANDONED = 3  # threads of one Fetcher that may still run after their deadline

_DISTRIBUTION = "flask-resource-server"

_Socket = TypeVar("_Socket", bound=socket.socket)


class FetchError(Exception):
    """A document that could not be fetched."""


class RefusedFetch(FetchError):
    """The server responded with a 4xx status: the document does not exist, or is not for us."""


class Fetcher:
    """Fetches documents of a media type, of at most `maximum` bytes each. Not thread-safe.

    Remembers ETags, so that an unchanged document is not sent again (RFC 9110 section 13.1.2). `proxy` is the
    URL of an HTTP proxy, http://[user:password@]host:port; or "environment" to use HTTP_PROXY, HTTPS_PROXY
    and NO_PROXY; or None to use no proxy, whatever the environment says. Raises `ConfigurationError`.
    """

    def __init__(self, media_type: str, maximum: int, proxy: str | None = None) -> None:
        self._media_type = media_type
        self._maximum = maximum
        self._choose_proxy = choose_proxy(proxy)
        self._known: dict[str, tuple[str, bytes]] = {}  # by URL: an ETag and the body it belongs to
        self._round: set[str] = set()  # the URLs requested in this round; a repeated one starts a new round
        self._abandoned: list[_Get] = []

    def fetch(self, url: str) -> bytes:
        """Return the document at a URL, which must respond with status 200. Redirects are not followed.

        Takes at most `TIMEOUT` seconds. Raises `FetchError`, `ConfigurationError` for an unusable proxy in
        the environment, or what Python raises for a network error.
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
            raise FetchError(f"the body is larger than {self._maximum} bytes")
        self._known[url] = response.headers.get("ETag", ""), body
        return body

    def _forget_unused(self, url: str) -> None:
        """Drop the bodies of URLs that the last round did not request. A repeated URL starts a new round."""
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


class _Get(Exchange[tuple[HTTPResponse, bytes]]):
    """A GET, through a proxy if there is one."""

    def __init__(self, url: str, headers: dict[str, str], maximum: int, proxy: Proxy | None) -> None:
        super().__init__("GET", url, TIMEOUT)
        self._headers = headers
        self._maximum = maximum
        self._proxy = proxy

    def result(self) -> tuple[HTTPResponse, bytes]:
        """Return the response and its body, or raise the error that was caught."""
        route = f"through the proxy {self._proxy}: " if self._proxy else ""
        if self.is_abandoned:
            raise FetchError(f"{route}no complete response within {TIMEOUT} seconds")
        if route and isinstance(self.error, OSError):  # its message does not say which of the hosts failed
            raise FetchError(f"{route}{type(self.error).__name__}: {self.error}") from self.error
        return super().result()

    def exchange(self) -> tuple[HTTPResponse, bytes]:
        """Send the request, and return the response and its body."""
        with contextlib.closing(HTTPConnection(self.host, self.port)) as connection:
            host, port = (self._proxy.host, self._proxy.port) if self._proxy else (self.host, self.port)
            connection.sock = self.connect(host, port)
            target, headers = self._request_target()
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as response:
                if self._proxy and response.status == 407:
                    raise FetchError(self._proxy.explain(407))
                return response, response.read(self._maximum)

    def secure(self, connected: socket.socket) -> socket.socket:
        """Open a tunnel through the proxy before TLS."""
        if self._proxy and self.url.scheme == "https":
            status = self._proxy.open_tunnel(connected, self.url)
            if status != 200:
                raise FetchError(self._proxy.explain(status))
        return super().secure(connected)

    def _request_target(self) -> tuple[str, dict[str, str]]:
        """Return the request target and the headers (RFC 9112 sections 3.2.1 and 3.2.2)."""
        host = self.url.netloc.rpartition("@")[2]
        path = urlunsplit(("", "", self.url.path or "/", self.url.query, ""))
        headers = self._headers | {"Host": host}
        if self._proxy and self.url.scheme == "http":
            return f"http://{host}{path}", headers | self._proxy.headers
        return path, headers


def _unpack(body: bytes, maximum: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(body, maximum)
    except zlib.error:
        raise FetchError("the body is not gzip, although its Content-Encoding is") from None


@cache
def _user_agent() -> str:
    try:
        return f"{_DISTRIBUTION}/{importlib.metadata.version(_DISTRIBUTION)}"
    except importlib.metadata.PackageNotFoundError:  # a source tree that was not installed
        return _DISTRIBUTION
