"""A password change is final: a simultaneous request with the old password cannot undo it."""

import fcntl
import itertools
import json
import subprocess
import sys
import termios
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import PASSWORDS
from tests.databases import create_database, make_databases
from tests.processes.test_races import Request, send_together
from tests.secrets import remember
from tests.servers import Server, call, environment_for, serve_replicas, wait_for

OLD, NEW = "the old password", "the new password"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def replicas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("replicas")
    with (
        make_databases(request.param, request, folder) as make,
        serve_replicas(folder / "served", create_database(make())) as servers,
    ):
        yield servers


def change(server: Server, token: str, current: str, new: str) -> int:
    """Change a password and return the status of the response."""
    body = {"current_password": current, "new_password": new}
    return send(server, "PUT", "/users/me/password", token, body)


def send(server: Server, method: str, path: str, token: str, body: dict[str, Any]) -> int:
    """Send JSON and return the status of the response."""
    remember(body)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@contextmanager
def set_password_when_asked(server: Server, username: str) -> Iterator[Callable[[], None]]:
    """Start the administrator's command, which reads the password, and yield a function that gives it `NEW`.

    The command takes a second to start. The requests that race with it begin only afterwards.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi_auth", "users", "set-password", username],
        env=environment_for(server.environment),
        cwd=server.log.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as command:
        assert command.stdin

        def set_password() -> None:
            output, _ = command.communicate(f"{NEW[1:]}\n", timeout=60)
            assert command.returncode == 0, output

        command.stdin.write(NEW[0])  # the command reads this, and waits for the rest of the line
        command.stdin.flush()
        wait_for(lambda: is_read(command.stdin) or command.poll() is not None)
        yield set_password


def is_read(pipe: Any) -> bool:
    """Tell whether what was written to a pipe has been read."""
    return fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4)


def get_token(server: Server, username: str, password: str) -> str | None:
    """Log in, retrying while the server responds with 503, and return the access token."""
    engine = sa.create_engine(server.environment["AUTH_DATABASE_URL"])
    with engine.begin() as connection:  # earlier failures do not matter here
        connection.execute(sa.text("DELETE FROM login_failures"))
    engine.dispose()
    answers = []

    def is_answered() -> bool:
        answers.append(call(f"{server.url}/token", form={"username": username, "password": password}))
        return answers[-1][0] != 503

    wait_for(is_answered)
    token: str | None = answers[-1][1].get("access_token")
    return token


def add_victim(server: Server) -> tuple[str, str, str]:
    """Add a user with the old password, and return the name and the tokens of two sessions."""
    username = f"ada{uuid.uuid4().hex}"
    administrator = get_token(server, "admin1", PASSWORDS["admin1"])
    assert administrator
    assert send(server, "POST", "/users", administrator, {"username": username, "password": OLD}) == 201
    tokens = [get_token(server, username, OLD) for _ in range(2)]
    assert tokens[0]
    assert tokens[1]
    return username, tokens[0], tokens[1]


@contextmanager
def repeatedly(*requests: Callable[[], int]) -> Iterator[None]:
    """Send each request again and again until the block ends."""
    over, sent = Event(), Counter[int]()

    def loop(number: int) -> None:
        while not over.is_set():
            requests[number]()
            sent[number] += 1

    with ThreadPoolExecutor(len(requests)) as pool:
        loops = [pool.submit(loop, number) for number in range(len(requests))]
        try:
            wait_for(lambda: len(sent) == len(requests))
            yield
        finally:
            over.set()
        for one in loops:
            one.result()


def working(server: Server, username: str, *passwords: str) -> list[str]:
    return [password for password in passwords if get_token(server, username, password)]


repeated = pytest.mark.parametrize("repeat", range(3))


@repeated
def test_owner_can_change_a_password_that_a_thief_keeps_resetting(
    repeat: int, replicas: list[Server]
) -> None:
    username, stolen, own = add_victim(replicas[0])

    with repeatedly(*(partial(change, replica, stolen, OLD, OLD) for replica in replicas)):
        wait_for(lambda: change(replicas[1], own, OLD, NEW) == 204)

    assert working(replicas[0], username, OLD, NEW) == [NEW]
    assert call(f"{replicas[0].url}/users/me", stolen)[0] == 401
    assert call(f"{replicas[1].url}/users/me", own)[0] == 200


@repeated
def test_administrator_can_change_a_password_that_a_thief_keeps_resetting(
    repeat: int, replicas: list[Server]
) -> None:
    username, stolen, own = add_victim(replicas[0])

    with (
        set_password_when_asked(replicas[1], username) as set_password,
        repeatedly(*(partial(change, replica, stolen, OLD, OLD) for replica in replicas)),
    ):
        set_password()

    assert working(replicas[0], username, OLD, NEW) == [NEW]
    for token in (stolen, own):
        assert call(f"{replicas[0].url}/users/me", token)[0] == 401


@repeated
def test_administrator_can_change_a_password_that_a_thief_keeps_changing(
    repeat: int, replicas: list[Server]
) -> None:
    username, stolen, _ = add_victim(replicas[0])
    chosen = [OLD]
    names = (f"password number {n} of the thief" for n in itertools.count())

    def change_again() -> int:
        new = next(names)
        status = change(replicas[0], stolen, chosen[-1], new)
        if status == 204:
            chosen.append(new)
        return status

    with set_password_when_asked(replicas[1], username) as set_password, repeatedly(change_again):
        wait_for(lambda: len(chosen) > 2)
        set_password()

    assert working(replicas[1], username, *chosen[-3:], NEW) == [NEW]
    assert call(f"{replicas[0].url}/users/me", stolen)[0] == 401


@repeated
def test_one_simultaneous_change_succeeds_and_the_others_count_as_failures(
    repeat: int, replicas: list[Server]
) -> None:
    username, first, second = add_victim(replicas[0])
    passwords = [f"password number {n}" for n in range(4)]

    def request(number: int) -> Request:
        token = (first, second)[number % 2]
        return lambda: (change(replicas[number % 2], token, OLD, passwords[number]), {})

    statuses = [status for status, _ in send_together([request(n) for n in range(4)])]

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 400, 401, 503}
    assert count_failures(replicas[0]) == statuses.count(400)
    winner = passwords[statuses.index(204)]
    assert working(replicas[0], username, OLD, *passwords) == [winner]


def count_failures(server: Server) -> int:
    engine = sa.create_engine(server.environment["AUTH_DATABASE_URL"])
    with engine.connect() as connection:
        count: int = connection.execute(sa.text("SELECT count(*) FROM login_failures")).scalar_one()
    engine.dispose()
    return count
