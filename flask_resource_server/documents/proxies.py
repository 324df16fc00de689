"""Choose the HTTP proxy for a URL, and open a tunnel through it (RFC 9110 sections 7.6 and 9.3.6)."""

import base64
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import (  # type: ignore[attr-defined]  # typeshed lacks the second one
    getproxies_environment,
    proxy_bypass_environment,
)

from flask_resource_server.exceptions import ConfigurationError

ENVIRONMENT: Literal["environment"] = "environment"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Neither its `str` nor its `repr` contains the credentials, so both can be logged."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return _authority(self.host, self.port)

    @property
    def headers(self) -> dict[str, str]:
        """Return the request headers for the proxy."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def open_tunnel(self, connected: socket.socket, url: SplitResult) -> int:
        """Request a tunnel to the host of `url` over a socket that is connected to the proxy.

        Returns the status of the response: with 200, the tunnel is open.
        """
        authority = _authority(url.hostname or "", url.port or _DEFAULT_PORTS[url.scheme])
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        connected.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        # This closes the response, not the socket: what follows the headers belongs to the tunnel.
        with contextlib.closing(HTTPResponse(connected, method="CONNECT")) as response:
            response.begin()
            return response.status

    def explain(self, status: int) -> str:
        """Explain a response status that comes from the proxy itself."""
        if status != 407:
            return f"the proxy {self} refused a tunnel with status {status}"
        if self.authorization:
            return f"the proxy {self} refused the user name and password in its URL (status 407)"
        return f"the proxy {self} requires a user name and password in its URL (status 407)"


def choose_proxy(setting: str | None) -> Callable[[SplitResult], Proxy | None]:
    """Return a function that maps a URL to the proxy to use for it.

    `setting` is the URL of a proxy; or "environment" to use HTTP_PROXY, HTTPS_PROXY and NO_PROXY; or None to
    use no proxy, whatever the environment says. Raises `ConfigurationError`; with "environment", the returned
    function does.
    """
    if setting is None:
        return lambda url: None  # noqa: ARG005
    if setting == ENVIRONMENT:
        return _find_in_environment
    proxy = _parse(setting, 'PROXY must be "environment", or')
    return lambda url: proxy  # noqa: ARG005


def _find_in_environment(url: SplitResult) -> Proxy | None:
    proxies = getproxies_environment()
    found = proxies.get(url.scheme)
    if not found or proxy_bypass_environment(url.netloc.rpartition("@")[2], proxies):
        return None
    # Most programs accept a host and port here, without a scheme.
    return _parse(found if "://" in found else f"http://{found}", f"{url.scheme.upper()}_PROXY must be")


def _parse(proxy: str, problem: str) -> Proxy:
    try:
        parts = urlsplit(proxy)
        is_good = parts.scheme == "http" and parts.hostname and parts.port != 0
        is_good = is_good and not (parts.path.strip("/") or parts.query or parts.fragment)
    except ValueError:  # its message quotes the URL, which may contain a password
        is_good = False
    if not is_good:
        raise ConfigurationError(f"{problem} a URL of the form http://[user:password@]host:port")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    assert parts.hostname
    return Proxy(parts.hostname, parts.port or _DEFAULT_PORTS["http"], authorization)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
