"""Users sign in through the reverse proxy: over HTTPS, with cookies for that host only, with rate limits."""

import contextlib
import html
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from cryptography.x509 import DNSName

from tests.certificates import make_certificate
from tests.nginx import LOCALHOST, NAMES, NGINX, Proxy, run_nginx, serve_paths, serve_proxy
from tests.secrets import remember
from tests.servers import find_port, run_flask
from tests.sign_in import CALLBACK, challenge_of

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

COOKIES = {"__Host-auth_browser", "__Host-auth_session"}
VERIFIER = "v" * 43
STATE = "s" * 3000  # as long as any that applications send; a redirect returns it


@dataclass(frozen=True)
class Page:
    """A response to a browser: a page or a redirect."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def fields(self) -> dict[str, str]:
        found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', self.text)
        return {name: html.unescape(value) for name, value in found}


@dataclass
class Visitor:
    """The cookie handling of a browser; `prefix` is the path of auth_app on the host."""

    proxy: Proxy
    host: str
    prefix: str = ""
    cookies: SimpleCookie = field(default_factory=SimpleCookie)

    def visit(self, path: str, form: dict[str, str] | None = None) -> Page:
        remember(form)
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.sock = self.proxy.trust.wrap_socket(self.proxy.open(), server_hostname=self.host)
        headers = {"Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with contextlib.closing(connection):
            method = "GET" if form is None else "POST"
            connection.request(method, path, urlencode(form) if form else None, headers)
            answer = connection.getresponse()
            for set_cookie in answer.headers.get_all("Set-Cookie", []):
                self.cookies.load(set_cookie)
            return Page(answer.status, answer.headers, answer.read().decode())

    def sign_in(self, page: Page) -> Page:
        form = {**page.fields, "username": "student1", "password": "password123"}
        return self.visit(f"{self.prefix}/login", form)

    def ask_for_code(self, **changes: str) -> Page:
        parameters = {
            "response_type": "code",
            "client_id": "web",
            "redirect_uri": CALLBACK,
            "scope": "openid",
            "state": STATE,
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
            **changes,
        }
        return self.visit(f"{self.prefix}/authorize?{urlencode(parameters)}")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder, issuer = tmp_path_factory.mktemp("nginx"), f"https://{NAMES['auth']}"
    with serve_proxy(folder, ISSUER=issuer, STATUS_CLAIM="ignored") as running:
        add_web(running)
        yield running


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serve_paths(tmp_path_factory.mktemp("paths")) as running:
        add_web(running)
        yield running


@pytest.fixture(params=["own host", "path"])
def visitor(request: pytest.FixtureRequest) -> Visitor:
    """A visitor of auth_app, on a host of its own and then under a path."""
    if request.param == "path":
        return Visitor(request.getfixturevalue("paths"), LOCALHOST, "/auth")
    return Visitor(request.getfixturevalue("proxy"), NAMES["auth"])


def add_web(proxy: Proxy) -> None:
    auth, command = proxy.pair.auth, f"clients add web --public --redirect-uri {CALLBACK}"
    run_flask("wsgi_auth", command, auth.environment, auth.log.parent)


def test_sign_in_yields_a_code_that_is_exchanged_for_tokens(visitor: Visitor) -> None:
    page = visitor.ask_for_code()
    assert (page.status, page.headers["Cache-Control"]) == (200, "no-store")
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"

    signed_in = visitor.sign_in(page)
    assert signed_in.status == 303, signed_in.text
    assert signed_in.headers["Location"].startswith(f"{visitor.prefix}/authorize?")
    back = visitor.visit(signed_in.headers["Location"])
    answer = parse_qs(urlsplit(back.headers["Location"]).query)
    assert (back.status, answer["state"]) == (303, [STATE])

    form = {
        "grant_type": "authorization_code",
        "client_id": "web",
        "code": answer["code"][0],
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    tokens = json.loads(visitor.visit(f"{visitor.prefix}/token", form).text)
    remember(tokens)
    assert tokens["scope"] == "openid"
    for log in (visitor.proxy.log, visitor.proxy.pair.auth.log):
        assert answer["code"][0] not in log.read_text()


def test_cookies_are_limited_to_this_host_and_https(visitor: Visitor) -> None:
    visitor.sign_in(visitor.visit(f"{visitor.prefix}/login"))

    assert set(visitor.cookies) == COOKIES
    for cookie in visitor.cookies.values():
        assert (cookie["secure"], cookie["httponly"]) == (True, True)
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "")


def test_account_page_and_sign_out_work(visitor: Visitor) -> None:
    visitor.sign_in(visitor.visit(f"{visitor.prefix}/login"))
    account = visitor.visit(f"{visitor.prefix}/account")
    assert "student1" in account.text
    style = re.findall(r'<link rel="stylesheet" href="([^"]*)"', account.text)[0]
    assert visitor.visit(style).headers["Content-Type"].startswith("text/css")

    asked = visitor.visit(f"{visitor.prefix}/logout")
    signed_out = visitor.visit(f"{visitor.prefix}/logout", asked.fields)

    assert signed_out.headers["Location"] == f"{visitor.prefix}/signed-out"
    assert "student1" not in visitor.visit(f"{visitor.prefix}/account").text


def test_metadata_is_served_at_every_well_known_address(visitor: Visitor) -> None:
    issuer = visitor.proxy.pair.auth.environment["ISSUER"]
    paths = (
        f"{visitor.prefix}/.well-known/openid-configuration",
        f"{visitor.prefix}/.well-known/oauth-authorization-server",
        f"/.well-known/oauth-authorization-server{visitor.prefix}",
    )
    for path in paths:
        metadata = json.loads(visitor.visit(path).text)
        assert (metadata["issuer"], metadata["authorization_endpoint"]) == (issuer, f"{issuer}/authorize"), (
            path
        )


class Echo(BaseHTTPRequestHandler):
    """Responds with the cookies that it received."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"cookies: {self.headers.get('Cookie')}".encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("name", "auth", "course"),
    [
        ("nginx.conf", (NAMES["auth"], "/"), (NAMES["course"], "/")),
        ("nginx-paths.conf", ("example.com", "/auth/"), ("example.com", "/courses-api/")),
    ],
)
def test_cookies_are_not_forwarded_to_course_app(
    name: str, auth: tuple[str, str], course: tuple[str, str], tmp_path: Path
) -> None:
    """With one host name, browsers send the cookies to both services, but course_app must not get them."""
    make_certificate(tmp_path, DNSName("example.com"), *map(DNSName, NAMES.values()))
    trust = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    port = find_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        threading.Thread(target=echo.serve_forever).start()
        try:
            upstreams = {"auth:8081": echo.socket, "course:8082": echo.socket}
            with run_nginx(tmp_path, name, port, upstreams):
                seen = [ask(port, trust, *address) for address in (auth, course)]
        finally:
            echo.shutdown()

    assert seen == ["cookies: __Host-auth_session=x", "cookies: None"]


def ask(port: int, trust: ssl.SSLContext, host: str, path: str) -> str:
    connection = http.client.HTTPConnection(host, timeout=60)
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sock = trust.wrap_socket(raw, server_hostname=host)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Cookie": "__Host-auth_session=x"})
        return connection.getresponse().read().decode()


def test_rate_limit_and_outage_responses_to_browsers_are_pages(tmp_path: Path) -> None:
    with serve_proxy(tmp_path) as proxy:
        visitor = Visitor(proxy, NAMES["auth"])
        # The bursts: 50 sign-ins or password changes, and 100 authorization requests.
        for path, burst in [("/login", 50), ("/authorize", 100), ("/account/password", 0)]:
            pages = [visitor.visit(path) for _ in range(burst + 60)]
            assert {page.status for page in pages} <= {200, 400, 429}
            assert [page.status for page in pages[:burst]].count(429) == 0
            refused = next(page for page in pages if page.status == 429)
            assert refused.headers["Retry-After"] == "1"
            check_page(refused, "Too many requests")

        proxy.pair.auth.stop()

        page, program = visitor.visit("/signed-out"), visitor.visit("/revoke", {"token": "x"})
        assert (page.status, program.status) == (503, 503)
        check_page(page, "The service is temporarily unavailable")
        assert json.loads(program.text)["error"] == "temporarily_unavailable"


def check_page(page: Page, title: str) -> None:
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert f"<h1>{title}</h1>" in page.text
