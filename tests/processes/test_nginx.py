"""The reverse proxy's configuration works, with a real nginx in front of real services."""

import contextlib
import json
import resource
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nginx import LOCALHOST, NAMES, NGINX, Proxy, serve_paths, serve_proxy
from tests.servers import ROOT, wait_for

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONNECTIONS = 10_000
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


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serve_proxy(tmp_path_factory.mktemp("nginx")) as running:
        yield running


def test_login_and_courses_work_through_nginx(proxy: Proxy) -> None:
    status, headers, body = proxy.ask("course", "GET", "/courses", Authorization=f"Bearer {proxy.log_in()}")

    assert (status, bool(json.loads(body)["courses"])) == (200, True)
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(headers["x-request-id"]) == 32


def test_forwarded_for_header_from_a_client_is_ignored(proxy: Proxy) -> None:
    form = "username=nobody&password=wrong"
    assert proxy.ask("auth", "POST", "/token", form, **{"X-Forwarded-For": "203.0.113.9"})[0] == 400

    log = proxy.pair.auth.log.read_text()
    assert '"event": "login_failed"' in log
    assert "203.0.113.9" not in log


@pytest.mark.parametrize("path", ["/.well-known/status-list", "/.well-known/status-list/1"])
def test_at_most_one_status_list_request_per_second_reaches_auth_app(proxy: Proxy, path: str) -> None:
    log, began = proxy.log, time.monotonic()
    seen = len(find_lines(log, path))
    answers = [proxy.ask("auth", "GET", path) for _ in range(30)]
    seconds = time.monotonic() - began

    assert {status for status, _, _ in answers} == {200}
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 30
    assert all(headers["strict-transport-security"] == "max-age=31536000" for _, headers, _ in answers)
    wait_for(lambda: len(find_lines(log, path)) == seen + 30)
    asked = [line for line in find_lines(log, path)[seen:] if line["upstream"]]
    assert len(asked) <= 2 + seconds  # one for each second that has started


def test_query_and_encoding_variants_share_one_cached_status_list(proxy: Proxy) -> None:
    path = "/.well-known/status-list"
    began, seen = time.monotonic(), len(find_lines(proxy.log, path))
    for number in range(30):
        headers = {"Accept-Encoding": f"gzip, x{number}"}
        assert proxy.ask("auth", "GET", f"{path}?{number}", **headers)[0] == 200
    seconds = time.monotonic() - began

    wait_for(lambda: len(find_lines(proxy.log, path)) == seen + 30)
    assert sum(bool(line["upstream"]) for line in find_lines(proxy.log, path)[seen:]) <= 2 + seconds


def test_key_set_is_not_cached(proxy: Proxy) -> None:
    path = "/.well-known/jwks.json"
    seen = len(find_lines(proxy.log, path))
    for _ in range(5):
        proxy.ask("auth", "GET", path)

    wait_for(lambda: len(find_lines(proxy.log, path)) == seen + 5)
    assert all(line["upstream"] for line in find_lines(proxy.log, path)[seen:])


def test_unchanged_document_is_not_sent_again(proxy: Proxy) -> None:
    tag = proxy.ask("auth", "GET", "/.well-known/status-list")[1]["etag"]

    assert proxy.ask("auth", "GET", "/.well-known/status-list", **{"If-None-Match": tag})[0] == 304


def find_lines(log: Path, path: str) -> list[dict[str, object]]:
    """Return the lines of nginx's access log about a path."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["path"] == path]


def test_large_body_is_refused_in_json(proxy: Proxy) -> None:
    status, _, body = proxy.ask("auth", "POST", "/token", "x" * 70_000)

    assert (status, json.loads(body)["error"]) == (413, "content_too_large")


def test_readiness_and_metrics_are_not_exposed(proxy: Proxy) -> None:
    for name in NAMES:
        assert proxy.ask(name, "GET", "/readyz")[0] == proxy.ask(name, "GET", "/metrics")[0] == 404
        assert proxy.ask(name, "GET", "/healthz")[0] == 200


def test_slow_clients_do_not_delay_others(proxy: Proxy) -> None:
    """Forty clients send part of the headers, forty part of a body: each service has four threads."""
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


def test_ten_thousand_open_connections_do_not_delay_others(proxy: Proxy) -> None:
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

            assert poll.poll(0) == [], "all are still open"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_client_is_disconnected(proxy: Proxy) -> None:
    with proxy.open() as raw, proxy.trust.wrap_socket(raw, server_hostname=NAMES["auth"]) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: a")
        started = time.monotonic()

        assert b"200" not in slow.recv(1000)
        assert 1 < time.monotonic() - started < 20


def test_rate_limit_and_outage_responses_are_json(tmp_path: Path) -> None:
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


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serve_paths(tmp_path_factory.mktemp("paths")) as running:
        yield running


def test_both_services_work_under_one_host_name(paths: Proxy) -> None:
    auth, course = f"{paths.url}/auth", f"{paths.url}/courses-api"
    token = {"Authorization": f"Bearer {paths.log_in(LOCALHOST, '/auth')}"}

    seen: list[int] = []
    page = "/courses-api/courses?limit=1"
    while page:
        status, headers, body = paths.ask(LOCALHOST, "GET", page, **token)
        assert status == 200, page
        assert headers["strict-transport-security"] == "max-age=31536000"
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
        status, _, body = paths.ask(LOCALHOST, "GET", path)
        assert (status, json.loads(body)[member]) == (200, url), path

    for prefix in ("/auth", "/courses-api"):
        assert paths.ask(LOCALHOST, "GET", f"{prefix}/")[1]["location"] == f"{prefix}/docs"
        document = json.loads(paths.ask(LOCALHOST, "GET", f"{prefix}/openapi.json")[2])
        assert document["servers"] == [{"url": prefix}]
        assert paths.ask(LOCALHOST, "GET", f"{prefix}/readyz")[0] == 404
        assert paths.ask(LOCALHOST, "GET", f"{prefix}/metrics")[0] == 404
    headers = paths.ask(LOCALHOST, "GET", "/courses-api/courses")[1]
    metadata = f"{paths.url}/.well-known/oauth-protected-resource/courses-api"
    assert headers["www-authenticate"] == f'Bearer resource_metadata="{metadata}"'


def test_revoked_token_is_refused_under_a_prefix(paths: Proxy) -> None:
    revoked, other = (paths.log_in(LOCALHOST, "/auth") for _ in range(2))

    def use(token: str) -> int:
        return paths.ask(LOCALHOST, "GET", "/courses-api/courses", Authorization=f"Bearer {token}")[0]

    assert (use(revoked), use(other)) == (200, 200)

    assert paths.ask(LOCALHOST, "POST", "/auth/revoke", f"token={revoked}")[0] == 200

    wait_for(lambda: use(revoked) == 401)
    assert use(other) == 200
    assert '"path":"/auth/.well-known/status-list/1","status":200' in paths.log.read_text()


def test_forwarded_prefix_header_from_a_client_is_ignored(proxy: Proxy) -> None:
    headers = {"X-Forwarded-Prefix": "/prefix"}

    assert [proxy.ask(name, "GET", "/", **headers)[1]["location"] for name in NAMES] == ["/docs", "/docs"]


def test_both_configurations_are_identical_up_to_the_server_blocks() -> None:
    files = [(ROOT / "deploy" / name).read_text() for name in ("nginx.conf", "nginx-paths.conf")]
    common = [text[text.index("worker_processes") : text.index("  server {")] for text in files]

    assert common[0] == common[1]
