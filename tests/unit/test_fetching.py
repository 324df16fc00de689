"""Fetching: the requests that are sent, what is cached, and how proxies are used."""

import base64
import importlib.metadata
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from flask_resource_server.documents import fetching
from flask_resource_server.documents.fetching import Fetcher, FetchError, RefusedFetch
from flask_resource_server.exceptions import ConfigurationError
from tests.certificates import make_certificate
from tests.issuers import Issuer, serve_issuer
from tests.proxies import Proxy, serve_proxy
from tests.servers import find_port, wait_for

SECRET = "hunter2-hunter2"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with serve_proxy() as running:
        yield running


@pytest.fixture(params=["http", "https"])
def issuer(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Issuer]:
    if request.param == "https":
        make_certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with serve_issuer(tmp_path if request.param == "https" else None) as running:
        running.body = b"found"
        yield running


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def fetch(url: str, proxy: str | None = None) -> bytes:
    return Fetcher("text/plain", 100, proxy=proxy).fetch(url)


def proxy_request(url: str) -> str:
    """Return the request that a proxy gets for a URL."""
    scheme, _, rest = url.partition("://")
    return f"GET {url}" if scheme == "http" else f"CONNECT {rest.partition('/')[0]}"


@pytest.mark.parametrize("is_installed", [True, False])
def test_user_agent_names_the_kit_and_its_version(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if not is_installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(importlib.metadata, "version", version)
    fetching._user_agent.cache_clear()
    with serve_issuer() as issuer:
        fetch(issuer.url)
    fetching._user_agent.cache_clear()

    expected = "flask-resource-server/1.2.3" if is_installed else "flask-resource-server"
    assert issuer.received[0]["User-Agent"] == expected


def test_query_of_a_url_is_sent() -> None:
    with serve_issuer() as issuer:
        fetch(f"{issuer.url}?tenant=a%20b")

    assert issuer.requests == ["/jwks.json?tenant=a%20b"]


def test_documents_not_requested_in_the_last_round_are_forgotten() -> None:
    """Status lists come and go, and each may take megabytes."""
    with serve_issuer() as issuer:
        issuer.headers["ETag"] = '"tag"'
        base = issuer.url.removesuffix("/jwks.json")
        fetcher = Fetcher("text/plain", 100)

        for number in range(20):
            for path in ("/lists", f"/lists/{number}"):
                fetcher.fetch(base + path)

        assert len(fetcher._known) <= 3
        assert issuer.conditions == [None] * 2 + ['"tag"', None] * 19


@pytest.mark.parametrize("issuer", ["http"], indirect=True)
def test_documents_of_a_round_are_revalidated_by_etag(issuer: Issuer) -> None:
    issuer.headers["ETag"] = '"tag"'
    fetcher = Fetcher("text/plain", 100)
    urls = [issuer.url, f"{issuer.url}/1", f"{issuer.url}/2"]

    for _ in range(3):
        assert [fetcher.fetch(url) for url in urls] == [b"found"] * 3

    assert issuer.conditions == [None] * 3 + ['"tag"'] * 6


def test_fetch_goes_through_the_proxy(issuer: Issuer, proxy: Proxy) -> None:
    assert fetch(issuer.url, f"http://{proxy.address}") == b"found"

    assert proxy.requests == [proxy_request(issuer.url)]
    assert proxy.authorizations == [None]


@pytest.mark.parametrize("issuer", ["https"], indirect=True)
def test_proxy_cannot_see_the_request_in_a_tunnel(issuer: Issuer, proxy: Proxy) -> None:
    fetch(issuer.url, f"http://user:{SECRET}@{proxy.address}")

    assert issuer.requests == ["/jwks.json"]
    assert proxy.tunnelled.startswith(b"\x16\x03"), "a TLS handshake"
    assert b"jwks.json" not in proxy.tunnelled


@pytest.mark.parametrize("issuer", ["https"], indirect=True)
def test_certificate_is_checked_through_a_proxy(
    issuer: Issuer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(FetchError, match=f"through the proxy {proxy.address}: SSLCertVerificationError"):
        fetch(issuer.url, f"http://{proxy.address}")


def test_host_is_resolved_by_the_proxy(proxy: Proxy) -> None:
    """A network that needs a proxy often cannot resolve external names."""
    proxy.status = 502

    with pytest.raises(FetchError, match="status 502"):
        fetch("https://issuer.invalid/jwks.json", f"http://{proxy.address}")

    assert proxy.requests == ["CONNECT issuer.invalid:443"]


def test_ipv6_address_is_bracketed_for_a_proxy(proxy: Proxy) -> None:
    proxy.status = 502

    with pytest.raises(FetchError, match="status 502"):
        fetch("https://[2001:db8::1]:8443/jwks.json", f"http://{proxy.address}")

    assert proxy.requests == ["CONNECT [2001:db8::1]:8443"]


def test_credentials_in_the_proxy_url_are_sent_to_the_proxy(issuer: Issuer, proxy: Proxy) -> None:
    fetch(issuer.url, f"http://us%40er:p%3Aw%2F@{proxy.address}/")

    assert proxy.authorizations == [f"Basic {base64.b64encode(b'us@er:p:w/').decode()}"]


@pytest.mark.parametrize("issuer", ["https"], indirect=True)
def test_proxy_credentials_are_not_sent_to_the_server_behind_a_tunnel(issuer: Issuer, proxy: Proxy) -> None:
    fetch(issuer.url, f"http://user:{SECRET}@{proxy.address}")

    assert issuer.received[0]["User-Agent"], "the headers are those of the request"
    assert "Proxy-Authorization" not in issuer.received[0]


@pytest.mark.parametrize(
    ("credentials", "said"),
    [("", "requires a user name and password"), (f"user:{SECRET}@", "refused the user name and password")],
)
def test_refusal_by_a_proxy_is_explained_without_its_credentials(
    credentials: str, said: str, issuer: Issuer, proxy: Proxy
) -> None:
    proxy.status = 407

    with pytest.raises(FetchError, match=f"the proxy {proxy.address} {said}") as caught:
        fetch(issuer.url, f"http://{credentials}{proxy.address}")

    assert not isinstance(caught.value, RefusedFetch), "it says nothing about the document"
    assert SECRET not in str(caught.value)
    assert issuer.requests == []


def test_unreachable_proxy_is_named_in_the_error() -> None:
    address = f"127.0.0.1:{find_port()}"

    with pytest.raises(FetchError, match=f"through the proxy {address}: ConnectionRefusedError") as caught:
        fetch("https://issuer.example/x", f"http://user:{SECRET}@{address}")

    assert SECRET not in str(caught.value)


def test_fetch_through_a_hanging_proxy_is_abandoned_and_its_thread_ends(
    issuer: Issuer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    proxy.answers.clear()

    with pytest.raises(FetchError, match=f"through the proxy {proxy.address}: no complete response within"):
        fetch(issuer.url, f"http://{proxy.address}")

    wait_for(lambda: f"GET {issuer.url}" not in {thread.name for thread in threading.enumerate()}, 5)


def test_tunnel_to_a_hanging_server_is_abandoned_and_its_thread_ends(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/x"

        with pytest.raises(FetchError, match="no complete response within"):
            fetch(url, f"http://{proxy.address}")

        wait_for(lambda: f"GET {url}" not in {thread.name for thread in threading.enumerate()}, 5)


def test_proxy_variables_are_ignored_by_default(
    issuer: Issuer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{proxy.address}")

    assert fetch(issuer.url) == b"found"

    assert proxy.requests == []


@pytest.mark.parametrize("form", ["http://{}", "http://{}/", "{}"])
def test_proxy_variables_are_used_on_request(
    form: str, issuer: Issuer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{issuer.url.partition(':')[0].upper()}_PROXY", form.format(proxy.address))

    assert fetch(issuer.url, "environment") == b"found"

    assert proxy.requests == [proxy_request(issuer.url)]


@pytest.mark.parametrize("exceptions", ["127.0.0.1", "example.com, 127.0.0.1", "*"])
def test_no_proxy_variable_is_honoured(
    exceptions: str, issuer: Issuer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{issuer.url.partition(':')[0].upper()}_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", exceptions)

    assert fetch(issuer.url, "environment") == b"found"

    assert proxy.requests == []


def test_proxy_for_another_scheme_is_not_used(
    issuer: Issuer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "HTTP" if issuer.url.startswith("https") else "HTTPS"
    monkeypatch.setenv(f"{other}_PROXY", f"http://{proxy.address}")

    assert fetch(issuer.url, "environment") == b"found"

    assert proxy.requests == []


UNUSABLE = {
    "https scheme": f"https://user:{SECRET}@proxy.example:3128",
    "SOCKS": f"socks5://user:{SECRET}@proxy.example:1080",
    "no host": f"http://user:{SECRET}@:3128",
    "port that is not a number": f"http://proxy.example:{SECRET}",
    "slash in the password": f"http://user:1/{SECRET}@proxy.example:3128",
    "path": f"http://user:{SECRET}@proxy.example:3128/path",
    "bracket in the password": f"http://user:[{SECRET}@proxy.example:3128",
}


@pytest.mark.parametrize(
    "url", [*UNUSABLE.values(), "", "proxy.example:3128"], ids=[*UNUSABLE, "empty", "no scheme"]
)
def test_unusable_proxy_is_refused_at_once_and_not_quoted(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^PROXY must be .*http://\[user:password@\]host:port"
    ) as caught:
        Fetcher("text/plain", 100, proxy=url)

    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("url", UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_proxy_in_the_environment_is_refused_and_not_quoted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)

    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY must be") as caught:
        fetch("https://issuer.example/x", "environment")

    assert SECRET not in repr(caught.value)
