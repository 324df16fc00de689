"""Send a form to a client's own server, but never into the network that this server stands in (SSRF)."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlencode, urlsplit

TIMEOUT = 5  # seconds to connect, and for the whole answer after that

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address is its last four bytes

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class ForbiddenAddress(OSError):
    """A host whose address is not one that this server may send to."""


def post_form(url: str, form: dict[str, str], networks: Iterable[Network]) -> int:
    """POST a form and return the status of the answer; redirects are not followed.

    Addresses that are not public are refused, unless they are in one of `networks`. Raises `OSError`, which
    `ForbiddenAddress` is one of.
    """
    parts = urlsplit(url)
    connected = _connect(
        parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), networks
    )
    # A socket's timeout begins anew with each byte that comes.
    watch = threading.Timer(TIMEOUT, _shut_down, [connected])
    watch.daemon = True
    watch.start()
    try:
        with contextlib.closing(HTTPConnection(parts.hostname or "")) as connection:
            connection.sock = connected
            if parts.scheme == "https":
                context = ssl.create_default_context()
                connection.sock = context.wrap_socket(connected, server_hostname=parts.hostname)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            headers = {"Host": parts.netloc, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", target or "/", urlencode(form), headers)
            return connection.getresponse().status
    except HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        watch.cancel()
        connected.close()


def _connect(host: str, port: int, networks: Iterable[Network]) -> socket.socket:
    """Connect to an address of a host that was looked at: its name may lead elsewhere a moment later."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not _is_allowed(ip_address(str(address[0]).partition("%")[0]), networks):
            raise ForbiddenAddress(
                f"{host} is at {address[0]}, which is not a public address: add its network to "
                "BACKCHANNEL_LOGOUT_NETWORKS if that is right"
            )
    family, kind, protocol, _, address = found[0]
    connected = socket.socket(family, kind, protocol)
    try:
        connected.settimeout(TIMEOUT)
        connected.connect(address)
    except OSError:
        connected.close()
        raise
    return connected


def _is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    if any(address in network for network in networks):
        return True
    return all(one.is_global and not one.is_multicast for one in (address, *_embedded(address)))


def _embedded(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that packets to an address of IPv6 may be for in the end."""
    if isinstance(address, IPv4Address):
        return []
    translated = IPv4Address(address.packed[-4:]) if address in _NAT64 else None
    teredo = address.teredo[1] if address.teredo else None
    return [one for one in (address.ipv4_mapped, address.sixtofour, teredo, translated) if one]


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
