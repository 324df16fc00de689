"""Outgoing forms go only to public addresses, without redirects, and within a deadline."""

import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from auth_app.oauth import outgoing
from auth_app.oauth.outgoing import TIMEOUT, ForbiddenAddress, post_form
from tests.certificates import make_certificate
from tests.receivers import Receiver, serve_receiver
from tests.servers import listen, url_of

LOOPBACK = [ip_network("127.0.0.0/8")]
FORM = {"logout_token": "a.b.c&d"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with serve_receiver() as served:
        yield served


@pytest.fixture
def secure_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    make_certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with serve_receiver(tmp_path) as served:
        yield served


@pytest.fixture(params=["receiver", "secure_receiver"])
def any_receiver(request: pytest.FixtureRequest) -> Receiver:
    served: Receiver = request.getfixturevalue(request.param)
    return served


def test_form_is_delivered_and_the_status_is_returned(any_receiver: Receiver) -> None:
    any_receiver.status = 204

    assert post_form(f"{any_receiver.url}/logout?a=b", FORM, LOOPBACK) == 204

    assert any_receiver.forms == [("/logout?a=b", FORM)]
    (headers,) = any_receiver.received
    assert headers["Host"] == any_receiver.url.partition("//")[2]
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_url_without_a_path_is_accepted(receiver: Receiver) -> None:
    assert post_form(receiver.url, FORM, LOOPBACK) == 200
    assert receiver.forms == [("/", FORM)]


# Hosts that a client must not make us send to, in various notations.
FORBIDDEN = {
    "loopback": "127.0.0.1",
    "end of the loopback range": "127.255.255.254",
    "loopback as a number": "2130706433",
    "loopback in hexadecimal": "0x7f000001",
    "loopback in octal": "0177.0.0.1",
    "short form of loopback": "127.1",
    "loopback by name": "localhost",
    "this host": "0.0.0.0",  # noqa: S104
    "this network": "0.1.2.3",
    "10/8": "10.0.0.1",
    "172.16/12": "172.31.255.255",
    "192.168/16": "192.168.0.1",
    "link-local, cloud metadata": "169.254.169.254",
    "CGNAT": "100.64.0.1",
    "Alibaba Cloud metadata": "100.100.100.200",
    "multicast": "224.0.0.1",
    "global multicast": "224.0.1.1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "documentation": "192.0.2.1",
    "benchmarks": "198.18.0.1",
    "IPv6 loopback": "[::1]",
    "IPv6 unspecified": "[::]",
    "IPv6 link-local": "[fe80::1]",
    "IPv6 link-local with a zone": "[fe80::1%lo]",
    "IPv6 site-local": "[fec0::1]",
    "IPv6 unique local": "[fd00::1]",
    "IPv6 multicast": "[ff02::1]",
    "IPv6 global multicast": "[ff0e::1]",
    "IPv6 documentation": "[2001:db8::1]",
    "IPv6 discard": "[100::1]",
    "IPv6 unassigned": "[4000::1]",
    "IPv4-mapped": "[::ffff:127.0.0.1]",
    "IPv4-mapped private": "[::ffff:10.0.0.1]",
    "IPv4-compatible": "[::127.0.0.1]",
    "6to4": "[2002:7f00:1::]",
    "6to4 private": "[2002:a00:1::1]",
    "NAT64": "[64:ff9b::127.0.0.1]",
    "NAT64 private": "[64:ff9b::10.0.0.1]",
    "NAT64 local use": "[64:ff9b:1::8.8.8.8]",
    "Teredo": "[2001:0:808:808::80ff:fffe]",
}
ALLOWED = ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize("host", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_non_public_address_is_refused(scheme: str, host: str) -> None:
    with pytest.raises(ForbiddenAddress, match="BACKCHANNEL_LOGOUT_NETWORKS"):
        post_form(f"{scheme}://{host}:1/logout", FORM, [])


@pytest.mark.parametrize("address", ALLOWED)
def test_public_address_is_allowed(address: str) -> None:
    assert outgoing._is_allowed(ip_address(address), [])


def test_allowed_network_allows_no_other_addresses() -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]

    for address, expected in {"10.1.2.3": True, "fd00::1": True, "192.168.0.1": False, "::1": False}.items():
        assert outgoing._is_allowed(ip_address(address), networks) is expected


def resolver_result(*addresses: str) -> list[tuple[Any, ...]]:
    """Return what the resolver returns for a name with several addresses."""
    return [found for address in addresses for found in RESOLVE(address, 1, type=socket.SOCK_STREAM)]


RESOLVE = socket.getaddrinfo


def test_name_with_one_non_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker's name server decides what the system's resolver returns."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolver_result("8.8.8.8", "127.0.0.1"))

    with pytest.raises(ForbiddenAddress, match=r"127\.0\.0\.1"):
        post_form("http://app.example.com:1/", FORM, [])


def test_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """A second lookup could return another address (DNS rebinding)."""
    port = int(receiver.url.rpartition(":")[2])
    answers = [RESOLVE("127.0.0.1", port, type=socket.SOCK_STREAM)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop())

    assert post_form(f"http://app.example.com:{port}/", FORM, LOOPBACK) == 200
    assert receiver.received[0]["Host"] == f"app.example.com:{port}"


def test_next_address_is_tried_when_one_refuses_the_connection(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    port = int(receiver.url.rpartition(":")[2])
    found = [
        entry for host in ("127.0.0.2", "127.0.0.1") for entry in RESOLVE(host, port, type=socket.SOCK_STREAM)
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    assert post_form(f"http://app.example.com:{port}/", FORM, LOOPBACK) == 200


def test_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"Location": f"{receiver.url}/elsewhere"}

    assert post_form(f"{receiver.url}/logout", FORM, LOOPBACK) == 307
    assert [path for path, _ in receiver.forms] == ["/logout"]


def test_proxy_from_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy could reach addresses that this server must not."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, receiver.url)

    with pytest.raises(ForbiddenAddress):
        post_form("http://127.0.0.1:1/", FORM, [])


UNUSABLE = {
    "closed port": "http://127.0.0.1:{closed}/",
    "unknown name": "http://app.invalid/",
    "empty label": "http://app..example.com/",
    "long label": f"http://{'x' * 64}.example.com/",
    "only a dot": "https://./",
    "no host": "http:///",
}


@pytest.mark.parametrize("url", UNUSABLE.values(), ids=UNUSABLE)
def test_unreachable_host_raises_oserror(url: str) -> None:
    with listen() as closed:
        port = closed.getsockname()[1]

    with pytest.raises(OSError):  # noqa: PT011
        post_form(url.format(closed=port), FORM, LOOPBACK)


def test_untrusted_certificate_is_refused(secure_receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        post_form(secure_receiver.url, FORM, LOOPBACK)
    assert secure_receiver.forms == []


def test_dripping_response_is_cut_off_at_the_deadline(any_receiver: Receiver) -> None:
    any_receiver.drip = True
    began = time.monotonic()

    with pytest.raises(OSError):  # noqa: PT011
        post_form(any_receiver.url, FORM, LOOPBACK)

    assert TIMEOUT - 1 < time.monotonic() - began < TIMEOUT + 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_silent_server_is_abandoned_at_the_deadline(scheme: str) -> None:
    """It sends neither a response nor its part of the TLS handshake."""
    with listen() as silent:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011
            post_form(url_of(silent).replace("http:", f"{scheme}:"), FORM, LOOPBACK)

    assert time.monotonic() - began < TIMEOUT + 3


@pytest.mark.parametrize("answer", [b"", b"\0" * 100, b"HTTP/1.1 x\r\n\r\n", b"x" * 100_000])
def test_response_that_is_not_http_raises_oserror(answer: bytes) -> None:
    with listen() as server:

        def reply() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(OSError):  # noqa: PT011
            post_form(url_of(server), FORM, LOOPBACK)
        thread.join()
