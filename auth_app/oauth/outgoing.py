"""POST a form to a client's server, but not to private network addresses (SSRF protection)."""

import contextlib
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlencode

from flask_resource_server.documents.exchange import Exchange

TIMEOUT = 5  # seconds in total: name resolution, connecting to each address, TLS, and the response

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_GLOBAL_UNICAST = ip_network("2000::/3")  # the only global unicast addresses of IPv6 that IANA assigns
_DOCUMENTATION = ip_network("3fff::/20")  # RFC 9637, which Python 3.11 counts as public

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class ForbiddenAddress(OSError):
    """The host's address is neither public nor in an allowed network."""


def post_form(url: str, form: dict[str, str], networks: Iterable[Network]) -> int:
    """POST a form and return the status of the response. Does not follow redirects.

    Refuses addresses that are neither public nor in one of `networks`. Returns or raises `OSError` within
    `TIMEOUT` seconds; `ForbiddenAddress` is one.
    """
    post = _Post(url, form, tuple(networks))
    post.start()
    post.join(TIMEOUT)
    if post.is_alive():
        post.abandon()
    return post.result()


class _Post(Exchange[int]):
    """A POST request that connects only to allowed addresses."""

    def __init__(self, url: str, form: dict[str, str], networks: tuple[Network, ...]) -> None:
        super().__init__("POST", url, TIMEOUT)
        self._form = form
        self._networks = networks

    def exchange(self) -> int:
        """Send the form, and return the status of the response."""
        try:
            return self._send()
        except (HTTPException, ValueError) as error:  # not an HTTP response, or an impossible host name
            raise OSError(f"{type(error).__name__}: {str(error)!a}") from error

    def _send(self) -> int:
        with contextlib.closing(HTTPConnection(self.host, self.port)) as connection:
            connection.sock = self.connect(self.host, self.port)
            target = (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")
            headers = {"Host": self.url.netloc, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", target, urlencode(self._form), headers)
            return connection.getresponse().status

    def check_address(self, address: str) -> None:
        """Raise `ForbiddenAddress` if an address is neither public nor in an allowed network."""
        if not _is_allowed(ip_address(address.partition("%")[0]), self._networks):
            raise ForbiddenAddress(
                f"{self.host} is at {address}, which is not a public address: add its network to "
                "BACKCHANNEL_LOGOUT_NETWORKS to allow it"
            )


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
    """Return the IPv4 addresses that packets to an IPv6 address may be translated or tunnelled to."""
    if isinstance(address, IPv4Address):
        return []
    translated = IPv4Address(address.packed[-4:]) if address in _NAT64 else None
    teredo = address.teredo[1] if address.teredo else None
    return [one for one in (address.ipv4_mapped, address.sixtofour, teredo, translated) if one]
