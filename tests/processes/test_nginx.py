"""The reverse proxy's configuration does what it says, with a real nginx before real services."""

import contextlib
import http.client
import json
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.certificates import make_certificate
from tests.servers import ROOT, Pair, find_port, serve_pair, wait_for

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

NAMES = {"auth": "auth.example.com", "course": "course.example.com"}
HOST = "example.com"  # of both, in nginx-paths.conf
CONNECTIONS = 10_000
LOGIN = "username=student1&password=password123"
SECRET = "hunter2-hunter2"
QUERY = f"username=student1&password={SECRET}"
MALFORMED = {
    "form alone": f"{QUERY}\r\n\r\n",
    "version": f"GET /token?{QUERY} HTTP/{SECRET}\r\nHost: auth.example.com\r\n\r\n",
    "header without a colon": f"GET /?{QUERY} HTTP/1.1\r\nHost: auth.example.com\r\nBasic {SECRET}\r\n\r\n",
    "host": f"GET /?{QUERY} HTTP/1.1\r\nHost: {SECRET}\x01\r\n\r\n",
    "long line": f"GET /?{QUERY}{'x' * 9000} HTTP/1.1\r\nHost: auth.example.com\r\n\r\n",
    "long header": f"GET /?{QUERY} HTTP/1.1\r\nHost: x\r\nCookie: {SECRET}{'x' * 9000}\r\n\r\n",
    "two lengths": (
        f"POST /token?{QUERY} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{SECRET}"
    ),
    "transfer coding": f"POST /token?{QUERY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
}


@dataclass
class Proxy:
    """An nginx before a pair of services, and what a client needs to trust it."""

    port: int
    pair: Pair
    trust: ssl.SSLContext
    log: Path

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(
        self, name: str, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request by TLS to a service or a host name, and return status, headers and body."""
        connection = http.client.HTTPConnection(NAMES.get(name, name), timeout=60)
        connection.sock = self.trust.wrap_socket(self.open(), server_hostname=NAMES.get(name, name))
        with contextlib.closing(connection):
            given = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, given | headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def send(self, request: bytes) -> bytes:
        """Send bytes by TLS to auth_app, and return what comes back."""
        with self.open() as raw, self.trust.wrap_socket(raw, server_hostname=NAMES["auth"]) as connection:
            connection.sendall(request)
            return connection.recv(10_000)

    def log_in(self) -> str:
        status, _, body = self.ask("auth", "POST", "/token", LOGIN)
        assert status == 200, body
        token: str = json.loads(body)["access_token"]
        return token


@contextlib.contextmanager
def serve_proxy(folder: Path, name: str = "nginx.conf", **settings: str) -> Iterator[Proxy]:
    """Serve both services, and an nginx with a file of `deploy` before them, until the block ends."""
    assert NGINX
    make_certificate(folder, *map(x509.DNSName, [*NAMES.values(), HOST]))
    port = find_port()
    settings |= {"TRUSTED_PROXIES": "1"}
    with serve_pair(folder, auth_settings=settings, course_settings=settings) as pair:
        configuration = (ROOT / "deploy" / name).read_text()
        for old, new in {
            "auth:8081": pair.auth.url.removeprefix("http://"),
            "course:8082": pair.course.url.removeprefix("http://"),
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "client_header_timeout 10s": "client_header_timeout 3s",
            "/etc/nginx/tls": str(folder),
            "/tmp/nginx": f"{folder}/nginx",  # noqa: S108
        }.items():
            assert old in configuration
            configuration = configuration.replace(old, new)
        (folder / "nginx.conf").write_text(configuration)
        log = folder / "nginx.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off;"],
                stdout=output,
                stderr=output,
            )
        running = Proxy(port, pair, ssl.create_default_context(cafile=folder / "certificate.pem"), log)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                running.open().close()
                return True
            return False

        try:
            wait_for(answers)
            yield running
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serve_proxy(tmp_path_factory.mktemp("nginx")) as running:
        yield running


def test_flow_of_the_reader_works_through_it(proxy: Proxy) -> None:
    status, headers, body = proxy.ask("course", "GET", "/courses", Authorization=f"Bearer {proxy.log_in()}")

    assert (status, bool(json.loads(body)["courses"])) == (200, True)
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(headers["x-request-id"]) == 32


def test_client_does_not_say_where_it_is(proxy: Proxy) -> None:
    form = "username=nobody&password=wrong"
    assert proxy.ask("auth", "POST", "/token", form, **{"X-Forwarded-For": "203.0.113.9"})[0] == 400

    log = proxy.pair.auth.log.read_text()
    assert '"event": "login_failed"' in log
    assert "203.0.113.9" not in log


def test_large_body_is_refused_in_json(proxy: Proxy) -> None:
    status, _, body = proxy.ask("auth", "POST", "/token", "x" * 70_000)

    assert (status, json.loads(body)["error"]) == (413, "content_too_large")


def test_machines_inside_ask_the_services_themselves(proxy: Proxy) -> None:
    for name in NAMES:
        assert proxy.ask(name, "GET", "/readyz")[0] == proxy.ask(name, "GET", "/metrics")[0] == 404
        assert proxy.ask(name, "GET", "/healthz")[0] == 200


def test_slow_clients_hold_up_nobody(proxy: Proxy) -> None:
    """Forty send half a head and wait, forty half a body: each service has four threads."""
    token = proxy.log_in()
    with contextlib.ExitStack() as stack:
        for head in ("GET /courses HTTP/1.1\r\nHost: c", "POST /token HTTP/1.1\r\nContent-Length: 50\r\n"):
            for name in NAMES:
                for _ in range(20):
                    raw = stack.enter_context(proxy.open())
                    slow = stack.enter_context(proxy.trust.wrap_socket(raw, server_hostname=NAMES[name]))
                    host = f"Host: {NAMES[name]}\r\n\r\nuser" if head.startswith("POST") else ""
                    slow.sendall((head + host).encode())
        assert proxy.ask("auth", "GET", "/users/me", Authorization=f"Bearer {token}")[0] == 200
        assert proxy.ask("course", "GET", "/courses", Authorization=f"Bearer {token}")[0] == 200


def test_ten_thousand_open_connections_hold_up_nobody(proxy: Proxy) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CONNECTIONS:
        pytest.skip(f"{2 * CONNECTIONS} open files are not allowed here: see `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with contextlib.ExitStack() as stack:
            poll = select.poll()
            for _ in range(CONNECTIONS):
                poll.register(stack.enter_context(proxy.open()), select.POLLIN)

            headers = {"Authorization": f"Bearer {proxy.log_in()}"}
            assert proxy.ask("course", "GET", "/courses", **headers)[0] == 200

            assert poll.poll(0) == [], "all are open still"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_client_is_cut_off(proxy: Proxy) -> None:
    with proxy.open() as raw, proxy.trust.wrap_socket(raw, server_hostname=NAMES["auth"]) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: a")
        started = time.monotonic()

        assert b"200" not in slow.recv(1000)
        assert 1 < time.monotonic() - started < 20


def test_flood_and_service_that_is_down_are_told_of_in_json(tmp_path: Path) -> None:
    with serve_proxy(tmp_path) as proxy:
        answers = [proxy.ask("auth", "GET", "/token") for _ in range(80)]
        assert {status for status, _, _ in answers} == {405, 429}
        _, headers, body = next(answer for answer in answers if answer[0] == 429)
        assert (json.loads(body)["error"], headers["retry-after"]) == ("too_many_requests", "1")

        proxy.pair.course.stop()

        status, headers, body = proxy.ask("course", "GET", "/courses")
        assert (status, json.loads(body)["error"]) == (503, "temporarily_unavailable")
        assert headers["retry-after"] == "1"


def test_no_secret_is_in_any_log(tmp_path: Path) -> None:
    headers = {"Referer": SECRET, "User-Agent": SECRET, "Authorization": f"Bearer {SECRET}", "Cookie": SECRET}
    with serve_proxy(tmp_path) as proxy:
        assert proxy.ask("auth", "POST", f"/token?{QUERY}", QUERY, **headers)[0] == 400
        assert proxy.ask("auth", "POST", f"/token?{QUERY}", "x" * 70_000, **headers)[0] == 413
        statuses = {proxy.ask("auth", "GET", f"/token?{QUERY}", **headers)[0] for _ in range(80)}
        assert 429 in statuses
        for name, request in MALFORMED.items():
            assert proxy.send(request.encode()).split(b" ")[1] in {b"400", b"414", b"501"}, name
        proxy.pair.course.stop()
        assert proxy.ask("course", "GET", f"/courses?{QUERY}", **headers)[0] == 503

    for log in (proxy.log, proxy.pair.auth.log, proxy.pair.course.log):
        assert SECRET not in log.read_text()
    outcomes = [line for line in proxy.log.read_text().splitlines() if line.startswith("{")]
    lines = [json.loads(line) for line in outcomes]
    assert {"/token", "/courses"} <= {line["path"] for line in lines}
    assert [line["upstream_status"] for line in lines if line["path"] == "/courses"] == ["502"]
    assert {line["limit"] for line in lines if line["status"] == 429} == {"REJECTED"}
    assert all(len(line["request_id"]) == 32 for line in lines)


def test_both_services_work_under_one_host_name(tmp_path: Path) -> None:
    auth, course = f"https://{HOST}/auth", f"https://{HOST}/courses-api"
    issuer = {"ISSUER": auth, "RESOURCES": course, "RESOURCE": course, "STATUS_CLAIM": "ignored"}
    with serve_proxy(tmp_path, "nginx-paths.conf", **issuer) as proxy:
        status, headers, body = proxy.ask(HOST, "POST", "/auth/token", LOGIN)
        assert status == 200, body
        assert headers["strict-transport-security"] == "max-age=31536000"
        token = {"Authorization": f"Bearer {json.loads(body)['access_token']}"}

        seen: list[int] = []
        page = "/courses-api/courses?limit=1"
        while page:
            status, _, body = proxy.ask(HOST, "GET", page, **token)
            assert status == 200, page
            answer = json.loads(body)
            seen += [found["id"] for found in answer["courses"]]
            page = answer["next"]
        assert len(seen) == len(set(seen)) > 1

        for path, member, url in [
            ("/.well-known/oauth-authorization-server/auth", "issuer", auth),
            ("/auth/.well-known/oauth-authorization-server", "issuer", auth),
            ("/.well-known/oauth-protected-resource/auth", "resource", auth),
            ("/.well-known/oauth-protected-resource/courses-api", "resource", course),
            ("/courses-api/.well-known/oauth-protected-resource", "resource", course),
        ]:
            status, _, body = proxy.ask(HOST, "GET", path)
            assert (status, json.loads(body)[member]) == (200, url), path

        for prefix in ("/auth", "/courses-api"):
            assert proxy.ask(HOST, "GET", f"{prefix}/")[1]["location"] == f"{prefix}/docs"
            document = json.loads(proxy.ask(HOST, "GET", f"{prefix}/openapi.json")[2])
            assert document["servers"] == [{"url": prefix}]
            assert proxy.ask(HOST, "GET", f"{prefix}/readyz")[0] == 404
            assert proxy.ask(HOST, "GET", f"{prefix}/metrics")[0] == 404
        headers = proxy.ask(HOST, "GET", "/courses-api/courses")[1]
        metadata = f"https://{HOST}/.well-known/oauth-protected-resource/courses-api"
        assert headers["www-authenticate"] == f'Bearer resource_metadata="{metadata}"'


def test_client_does_not_say_what_the_prefix_is(proxy: Proxy) -> None:
    headers = {"X-Forwarded-Prefix": "/prefix"}

    assert [proxy.ask(name, "GET", "/", **headers)[1]["location"] for name in NAMES] == ["/docs", "/docs"]


def test_both_files_have_the_same_limits() -> None:
    files = [(ROOT / "deploy" / name).read_text() for name in ("nginx.conf", "nginx-paths.conf")]
    common = [text[text.index("worker_processes") : text.index("  server {")] for text in files]

    assert common[0] == common[1]
