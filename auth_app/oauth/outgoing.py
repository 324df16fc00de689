"""Send a form to a client's own server, but never into the network that this server stands in (SSRF)."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlencode, urlsplit

TIMEOUT = 5  # seconds to connect, and for the whole answer after that

_GLOBAL_UNICAST = ip_network("2000::/3")  # all that IANA gives out of IPv6; the rest is for other purposes
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
    try:
        return _post(urlsplit(url), urlencode(form), list(networks))
    except (HTTPException, ValueError) as error:  # the answer is not HTTP, or the host no name that can be
        raise OSError(f"{type(error).__name__}: {error}") from error


def _post(url: SplitResult, body: str, networks: list[Network]) -> int:
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    connected = _connect(host, port, networks)
    if url.scheme == "https":
        # The handshake comes later, under the deadline.
        connected = ssl.create_default_context().wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False
        )
    with _deadline(connected), contextlib.closing(HTTPConnection(host)) as connection:
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection.sock = connected
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"Host": url.netloc, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", target, body, headers)
        return connection.getresponse().status


@contextlib.contextmanager
def _deadline(connected: socket.socket) -> Iterator[None]:
    """Close a socket at the end of the block, and shut it down if that takes longer than `TIMEOUT`.

    The socket's own timeout begins anew with each byte that comes.
    """
    watch = threading.Timer(TIMEOUT, _shut_down, [connected])
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()
        connected.close()


def _connect(host: str, port: int, networks: list[Network]) -> socket.socket:
    """Connect to an address of a host that was looked at: its name may lead elsewhere a moment later."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not _is_allowed(ip_address(str(address[0]).partition("%")[0]), networks):
            raise ForbiddenAddress(
                f"{host} is at {address[0]}, which is not a public address: add its network to "
                "BACKCHANNEL_LOGOUT_NETWORKS if that is right"
            )
    errors = []
    for family, kind, protocol, _, address in found:
        connected = socket.socket(family, kind, protocol)
        connected.settimeout(TIMEOUT / len(found))
        try:
            connected.connect(address)
        except OSError as error:
            connected.close()
            errors.append(error)
        else:
            connected.settimeout(TIMEOUT)
            return connected
    raise errors[0]


def _is_allowed(address: Address, networks: list[Network]) -> bool:
    final = _find_final(address)
    if any(one in network for network in networks for one in (address, final)):
        return True
    if isinstance(final, IPv6Address) and final not in _GLOBAL_UNICAST:
        return False
    return final.is_global and not final.is_multicast


def _find_final(address: Address) -> Address:
    """Return the IPv4 address to which packets to an address of IPv6 are translated, or the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
