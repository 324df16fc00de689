"""Send a form to a client's own server, but never into the network that this server stands in (SSRF)."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT = 5  # seconds for all of it: name resolution, each address, TLS, and the whole answer

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address is its last four bytes
_GLOBAL_UNICAST = ip_network("2000::/3")  # all that IANA gives out of IPv6; the rest is for other purposes
_DOCUMENTATION = ip_network("3fff::/20")  # RFC 9637, which Python 3.11 counts as public

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class ForbiddenAddress(OSError):
    """A host whose address is not one that this server may send to."""


def post_form(url: str, form: dict[str, str], networks: Iterable[Network]) -> int:
    """POST a form and return the status of the answer; redirects are not followed.

    Addresses that are not public are refused, unless they are in one of `networks`. Raises within `TIMEOUT`
    seconds: `OSError`, which `ForbiddenAddress` is one of.
    """
    post = _Post(url, form, tuple(networks))
    post.start()
    post.join(TIMEOUT)
    if post.is_alive():
        post.abandon()
        raise TimeoutError(f"no complete answer within {TIMEOUT} seconds")
    return post.result()


class _Post(threading.Thread):
    """One POST in a thread of its own.

    Name resolution has no timeout, and a socket's timeout starts anew with each byte.
    """

    def __init__(self, url: str, form: dict[str, str], networks: tuple[Network, ...]) -> None:
        super().__init__(name=f"POST {url}", daemon=True)
        self._url = urlsplit(url)
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._form = form
        self._networks = networks
        self._socket: socket.socket | None = None
        self._is_abandoned = False
        self._status = 0
        self._error: Exception | None = None

    def run(self) -> None:
        """Send the form, and keep the status or the exception for `result`."""
        try:
            self._status = self._send()
        except (HTTPException, ValueError) as error:  # it is not HTTP, or the host is no name that can be
            self._error = OSError(f"{type(error).__name__}: {str(error)!a}")
        except Exception as error:
            self._error = error
        finally:
            if self._socket:
                self._socket.close()

    def abandon(self) -> None:
        """Shut the socket down, so that the thread stops waiting for it and ends."""
        self._is_abandoned = True
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def result(self) -> int:
        """Return the status, or raise what the thread has caught."""
        if self._error:
            raise self._error
        return self._status

    def _send(self) -> int:
        url = self._url
        with contextlib.closing(HTTPConnection(url.hostname or "", self._port)) as connection:
            connection.sock = self._secure(self._connect())
            target = url.path + (f"?{url.query}" if url.query else "")
            headers = {"Host": url.netloc, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", target or "/", urlencode(self._form), headers)
            return connection.getresponse().status

    def _connect(self) -> socket.socket:
        """Connect to an address that was looked at: the name may lead elsewhere a moment later."""
        found: list[Any] = socket.getaddrinfo(self._url.hostname, self._port, type=socket.SOCK_STREAM)
        for *_, address in found:
            self._check(str(address[0]))
        errors = []
        for family, kind, protocol, _, address in found:
            candidate = self._use(socket.socket(family, kind, protocol))
            candidate.settimeout(TIMEOUT / len(found))
            try:
                candidate.connect(address)
            except OSError as error:
                candidate.close()
                errors.append(error)
            else:
                candidate.settimeout(TIMEOUT)
                return candidate
        raise errors[0]

    def _check(self, address: str) -> None:
        if not _is_allowed(ip_address(address.partition("%")[0]), self._networks):
            raise ForbiddenAddress(
                f"{self._url.hostname} is at {address}, which is not a public address: add its network to "
                "BACKCHANNEL_LOGOUT_NETWORKS if that is right"
            )

    def _secure(self, connected: socket.socket) -> socket.socket:
        if self._url.scheme != "https":
            return connected
        # The handshake comes after `_use`, so that `abandon` can end one that the server never completes.
        secured = ssl.create_default_context().wrap_socket(
            connected, server_hostname=self._url.hostname, do_handshake_on_connect=False
        )
        self._use(secured)
        secured.do_handshake()
        return secured

    def _use(self, used: socket.socket) -> socket.socket:
        """Let `abandon` know which socket to shut down; close it if `abandon` came first."""
        self._socket = used
        if self._is_abandoned:
            used.close()
            raise OSError("abandoned")
        return used


def _is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    if any(address in network for network in networks):
        return True
    embedded = _embedded(address)
    if isinstance(address, IPv6Address) and not embedded:
        is_given_out = address in _GLOBAL_UNICAST and address not in _DOCUMENTATION
        return is_given_out and address.is_global
    own: list[Address] = [*embedded] or [address]
    return all(one.is_global and not one.is_multicast for one in own)


def _embedded(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that packets to an address of IPv6 may be for in the end."""
    if isinstance(address, IPv4Address):
        return []
    translated = IPv4Address(address.packed[-4:]) if address in _NAT64 else None
    teredo = address.teredo[1] if address.teredo else None
    return [one for one in (address.ipv4_mapped, address.sixtofour, teredo, translated) if one]
