"""Tests that need a real server: broken framing, repeated headers, bodies that end early."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.servers import Pair, call

FORM = b"username=student1&password=password123"

# The rest of a request to auth_app, byte by byte, and the status of the response.
REQUESTS: dict[str, tuple[bytes, int]] = {
    "valid": (b"Content-Length: %d\r\n\r\n%s" % (len(FORM), FORM), 200),
    "in two chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nusern\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(FORM) - 5, FORM[5:]),
        200,
    ),
    "chunk without a size": (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + FORM, 400),
    "chunk of negative size": (b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + FORM, 400),
    "chunk longer than its size": (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%sXX0\r\n\r\n" % (len(FORM), FORM),
        400,
    ),
    "no last chunk": (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(FORM), FORM), 400),
    "bad trailer": (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nbad trailer\r\n\r\n" % (len(FORM), FORM),
        400,
    ),
    "shorter than its length": (b"Content-Length: %d\r\n\r\n%s" % (len(FORM) + 5, FORM), 400),
    "two lengths": (b"Content-Length: 1\r\nContent-Length: %d\r\n\r\n%s" % (len(FORM), FORM), 400),
    "length and chunks": (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "length is not a number": (b"Content-Length: x\r\n\r\n" + FORM, 400),
    "too long": (b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, 413),
    "too long, in chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n" + b"fff0\r\n%s\r\n" % (b"x" * 0xFFF0) * 4 + b"0\r\n\r\n",
        413,
    ),
}


def exchange(url: str, request: bytes) -> bytes:
    """Send bytes, close the sending side, and return the whole response."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has answered and closed before it read everything
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize(("rest", "status"), REQUESTS.values(), ids=REQUESTS)
def test_request_framing_is_checked(rest: bytes, status: int, pair: Pair) -> None:
    head = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"

    answer = exchange(pair.auth.url, head + rest)

    assert int(answer.split(b" ", 2)[1]) == status


@pytest.mark.parametrize("second", ["Bearer {}", "Basic eDp5", "x"])
def test_two_authorization_headers_are_refused(second: str, pair: Pair) -> None:
    _, answer = call(f"{pair.auth.url}/token", form={"username": "student1", "password": "password123"})
    lines = [f"Authorization: {value.format(answer['access_token'])}\r\n" for value in ("Bearer {}", second)]

    responses = [
        exchange(pair.course.url, f"GET /courses HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        for headers in (lines[0], "".join(lines), "".join(reversed(lines)))
    ]

    assert [response.split(b" ", 2)[1] for response in responses] == [b"200", b"401", b"401"]


def test_authorization_header_with_an_underscore_is_refused(pair: Pair) -> None:
    answer = exchange(
        pair.course.url, b"GET /courses HTTP/1.1\r\nHost: x\r\nAuthorization_: Bearer x\r\n\r\n"
    )

    assert int(answer.split(b" ", 2)[1]) == 400
