"""gunicorn's own responses and log lines have our format and quote nothing from requests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.headers import DATA_HEADERS
from tests.processes.test_wire import exchange
from tests.servers import Pair, Server, listen, serve, serve_pair, wait_for

SECRET = b"hunter2-hunter2"
FORM = b"username=student1&password=" + SECRET

# Malformed requests, and the status and the error code of the response.
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "body after a request without a length": (
        b"POST /token HTTP/1.1\r\nHost: x\r\n\r\n" + FORM + b"\r\n\r\n",
        400,
        "invalid_request",
    ),
    "form without a request line": (FORM + b"\r\n\r\n", 400, "invalid_request"),
    "invalid method": (b"%s /token HTTP/1.1\r\nHost: x\r\n\r\n" % FORM, 400, "invalid_request"),
    "invalid version": (b"GET /token?%s HTTP/%s\r\n\r\n" % (FORM, SECRET), 400, "invalid_request"),
    "header without a colon": (
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Basic %s\r\n\r\n" % SECRET,
        400,
        "invalid_request",
    ),
    "invalid header name": (
        b"GET / HTTP/1.1\r\nHost: x\r\nPass word %s: x\r\n\r\n" % SECRET,
        400,
        "invalid_request",
    ),
    "invalid header value": (
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: %s\x00\r\n\r\n" % SECRET,
        400,
        "invalid_request",
    ),
    "header on two lines": (
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: x\r\n %s\r\n\r\n" % SECRET,
        400,
        "invalid_request",
    ),
    "unknown transfer coding": (
        b"POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %s\r\n\r\n" % SECRET,
        501,
        "not_implemented",
    ),
    "expectation": (
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: %s\r\n\r\nx" % SECRET,
        417,
        "expectation_failed",
    ),
    "long request line": (
        b"GET /token?%s%s HTTP/1.1\r\nHost: x\r\n\r\n" % (FORM, b"x" * 9000),
        414,
        "uri_too_long",
    ),
    "large header": (
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: %s%s\r\n\r\n" % (SECRET, b"x" * 9000),
        431,
        "request_header_fields_too_large",
    ),
    "many headers": (
        b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % b"".join(b"X-%d: %s\r\n" % (n, SECRET) for n in range(101)),
        431,
        "request_header_fields_too_large",
    ),
}

# An application that fails outside Flask, before or in the middle of a response.
FAILING = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/readyz":
        start_response("200 OK", [("Content-Length", "0")])
    elif environ["PATH_INFO"] == "/header":
        start_response("200 OK", [("Location", "/?" + environ["QUERY_STRING"] + chr(10))])
    elif environ["PATH_INFO"] == "/middle":
        start_response("200 OK", [])(b"half")
        environ["wsgi.input"].read()
    else:
        raise RuntimeError
    return []
"""


@pytest.fixture(scope="module")
def verbose_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both services, with the most verbose logging."""
    settings = {"GUNICORN_CMD_ARGS": "--log-level debug --access-logfile -"}
    with serve_pair(
        tmp_path_factory.mktemp("verbose_pair"), auth_settings=settings, course_settings=settings
    ) as pair:
        yield pair


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "failing.py").write_text(FAILING)
    settings = {"GUNICORN_CMD_ARGS": "--log-level debug --access-logfile -"}
    with listen() as listener, serve("failing", listener, settings, tmp_path) as server:
        yield server


def read_log(server: Server) -> str:
    """Return the log, in which every line must be JSON."""
    log = server.log.read_text()
    for line in log.splitlines():
        assert json.loads(line)["time"], line
    return log


@pytest.mark.parametrize(("request_", "status", "error"), REFUSED.values(), ids=REFUSED)
def test_parse_error_is_json_and_does_not_quote_the_request(
    request_: bytes, status: int, error: str, verbose_pair: Pair
) -> None:
    refused = read_log(verbose_pair.auth).count("Refused a request from 127.0.0.1: ")

    answer = exchange(verbose_pair.auth.url, request_)
    head, _, body = answer[answer.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")

    assert int(head.split(b" ", 2)[1]) == status
    assert json.loads(body)["error"] == error
    assert list(json.loads(body)) == ["error", "error_description"]
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers == DATA_HEADERS | {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    assert SECRET not in answer
    wait_for(lambda: read_log(verbose_pair.auth).count("Refused a request from 127.0.0.1: ") > refused)
    assert SECRET.decode() not in read_log(verbose_pair.auth)


UNLOGGED: dict[str, bytes] = {
    "query": b"POST /token?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % FORM,
    "headers": (
        b"GET /users/me HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nCookie: %s\r\nReferer: %s\r\n"
        b"User-Agent: %s\r\nConnection: close\r\n\r\n" % ((SECRET,) * 5)
    ),
    "user name of HTTP Basic": (
        b"POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        b"Authorization: Basic aHVudGVyMi1odW50ZXIyOng=\r\n\r\n"
    ),
    "truncated body": b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + FORM,
    "unterminated chunk": (
        b"POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % FORM
    ),
    "unterminated chunk for an unknown path": (
        b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % FORM
    ),
    "truncated headers": b"GET /token?%s HTTP/1.1\r\nAuthorization: %s" % (FORM, SECRET),
}


@pytest.mark.parametrize("request_", UNLOGGED.values(), ids=UNLOGGED)
def test_query_headers_and_body_of_a_request_are_not_logged(request_: bytes, verbose_pair: Pair) -> None:
    closed = read_log(verbose_pair.auth).count("\n")

    exchange(verbose_pair.auth.url, request_)

    wait_for(lambda: verbose_pair.auth.log.read_text().count("\n") > closed)
    assert SECRET.decode() not in read_log(verbose_pair.auth)


def test_access_log_has_address_method_path_status_size_and_time(verbose_pair: Pair) -> None:
    exchange(
        verbose_pair.course.url, b"GET /courses?limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )

    line = re.compile(r"127\.0\.0\.1 GET /courses 401 \d+ bytes \d+ ms")
    wait_for(lambda: line.search(read_log(verbose_pair.course)) is not None)


@pytest.mark.parametrize("path", ["/", "/header", "/middle"])
def test_failure_outside_flask_is_logged_without_query_or_body(path: str, failing: Server) -> None:
    answer = exchange(
        failing.url,
        b"POST %s?%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n"
        % (path.encode(), FORM, SECRET),
    )

    if path != "/middle":
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "server_error"
    wait_for(lambda: '"level": "error"' in read_log(failing))
    assert SECRET.decode() not in read_log(failing)


def test_log_level_from_the_command_line_is_honoured(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    settings = {"GUNICORN_CMD_ARGS": "--log-level error"}
    with listen() as listener, serve("failing", listener, settings, tmp_path) as server:
        exchange(server.url, REFUSED["form without a request line"][0])

    assert server.log.read_text() == ""


def test_startup_and_shutdown_messages_are_json(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    with listen() as listener, serve("failing", listener, {}, tmp_path) as server:
        pass

    log = read_log(server)
    assert '"logger": "gunicorn.error"' in log
    assert '"message": "Starting gunicorn' in log
    assert '"message": "Shutting down: Master"' in log
