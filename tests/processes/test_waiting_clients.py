"""Clients that keep connections open without sending anything do not delay others."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.servers import Pair, is_listening, listen, serve, wait_for

WAITING = 100  # connections; gunicorn alone would need minutes for them
LIMIT = 10  # seconds for the request of another client

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UNREAD = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000


# An application that is served by a worker which waits for clients longer than it may take to stop. Its
# responses at /slow wait for a file.
PATIENT = """
import pathlib
import time

import shared.gunicorn_worker

shared.gunicorn_worker._LONGEST_WAIT = 60


def app(environ, start_response):
    while environ["PATH_INFO"] == "/slow" and not pathlib.Path("continue").exists():
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@contextmanager
def connect(url: str, count: int = 1, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections and send the same on each; close them when the block ends."""
    address = (str(urlsplit(url).hostname), int(urlsplit(url).port or 0))
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(stack.enter_context(socket.create_connection(address, timeout=LIMIT)))
            connections[-1].sendall(first)
        yield connections


def receive(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes its side."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize(
    "first", [b"", REQUEST], ids=["connects in advance", "does not close after the response"]
)
def test_idle_connections_do_not_delay_other_clients(first: bytes, pair: Pair) -> None:
    with connect(pair.auth.url, WAITING, first):
        for _ in range(10):
            with urlopen(f"{pair.auth.url}/healthz", timeout=LIMIT) as response:
                assert response.status == 200


def test_connection_opened_in_advance_can_be_used(pair: Pair) -> None:
    with connect(pair.auth.url) as (connection,):
        with urlopen(f"{pair.auth.url}/healthz", timeout=LIMIT) as response:
            assert response.status == 200
        connection.sendall(REQUEST)

        assert receive(connection).startswith(b"HTTP/1.1 200 ")


def test_response_reaches_a_client_that_is_still_sending(pair: Pair) -> None:
    with connect(pair.auth.url, first=UNREAD) as (connection,):
        assert receive(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("first", [b"", REQUEST], ids=["before a request", "after a response"])
def test_connection_that_the_client_keeps_open_is_closed(first: bytes, pair: Pair) -> None:
    with connect(pair.auth.url, first=first) as (connection,):
        receive(connection)

        def is_closed() -> bool:
            try:
                connection.sendall(b"x")
            except OSError:  # the server has closed its side and refuses what is sent to it
                return True
            return False

        wait_for(is_closed)


def test_open_connections_do_not_delay_a_stop(tmp_path: Path) -> None:
    (tmp_path / "patient.py").write_text(PATIENT)
    with (
        listen() as listener,
        serve("patient", listener, {}, tmp_path) as server,
        connect(server.url, 10),
        connect(server.url, 10, REQUEST) as answered,
    ):
        for connection in answered:
            assert receive(connection).startswith(b"HTTP/1.1 200 ")
        server.process.terminate()

        assert server.process.wait(timeout=8) == 0  # it would wait for 10 seconds: graceful_timeout


def test_stopping_worker_refuses_new_connections_and_completes_requests(tmp_path: Path) -> None:
    (tmp_path / "patient.py").write_text(PATIENT)
    slow = REQUEST.replace(b"/healthz", b"/slow")
    with (
        listen() as listener,
        serve("patient", listener, {}, tmp_path) as server,
        connect(server.url, 1, slow) as (connection,),
    ):
        server.process.terminate()
        wait_for(lambda: not is_listening(int(server.url.rpartition(":")[2])))
        (tmp_path / "continue").touch()

        assert receive(connection).startswith(b"HTTP/1.1 200 ")
