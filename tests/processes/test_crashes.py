"""Acknowledged changes survive a kill under load, and clients that lose a response can retry."""

import contextlib
import json
import os
import signal
import sqlite3
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.databases import create_database, serve_postgresql
from tests.servers import Pair, Server, call, serve_again, serve_pair, serve_replicas, wait_for

STUDENT = {"username": "student1", "password": "password123"}
ADMIN = {"username": "admin1", "password": "password789"}


@dataclass
class Session:
    """A session that is refreshed continuously; a refresh that fails or gets no response is retried."""

    url: str
    refresh_token: str = ""
    answers: list[int] = field(default_factory=list)
    losses: list[Exception] = field(default_factory=list)  # of requests without a response
    spent: list[str] = field(default_factory=list)

    def log_in(self) -> None:
        """Try to log in, and keep the refresh token."""
        with contextlib.suppress(OSError, HTTPException):
            status, answer = call(f"{self.url}/token", form=STUDENT)
            if status == 200:
                self.refresh_token = answer["refresh_token"]

    def refresh(self) -> None:
        if not self.refresh_token:
            self.log_in()
            return
        try:
            status, answer = refresh(self.url, self.refresh_token)
        except (OSError, HTTPException) as error:
            self.losses.append(error)
            return
        if status == 200:
            self.spent.append(self.refresh_token)
            self.refresh_token = answer["refresh_token"]
        self.answers.append(status)


def refresh(url: str, refresh_token: str) -> tuple[int, dict[str, str]]:
    return call(f"{url}/token", form={"grant_type": "refresh_token", "refresh_token": refresh_token})


@contextlib.contextmanager
def repeating(*actions: Callable[[], None]) -> Iterator[None]:
    """Repeat each action in its own thread while the block runs."""
    stopping = threading.Event()

    def repeat(action: Callable[[], None]) -> None:
        while not stopping.is_set():
            action()

    threads = [threading.Thread(target=repeat, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@dataclass
class Load:
    """Six sessions, with the responses and errors that they got."""

    sessions: list[Session]

    @property
    def answers(self) -> list[int]:
        return [status for session in self.sessions for status in session.answers]

    @property
    def losses(self) -> list[Exception]:
        return [error for session in self.sessions for error in session.losses]

    def wait_for_answers(self, count: int, status: int = 200) -> None:
        before = self.answers.count(status)
        wait_for(lambda: self.answers.count(status) >= before + count)


@contextlib.contextmanager
def refreshing(*servers: Server) -> Iterator[Load]:
    load = Load([Session(servers[number % len(servers)].url) for number in range(6)])
    with repeating(*(session.refresh for session in load.sessions)):
        yield load


def check_refresh_tokens(url: str, load: Load, others: Iterable[str] = ()) -> None:
    """Assert that every held refresh token works, even if the response to its last use was lost."""
    held = [token for token in (*(session.refresh_token for session in load.sessions), *others) if token]
    spent = [token for session in load.sessions for token in session.spent[-3:]]
    assert len(held) >= 6
    assert len(spent) >= 6
    for token in held:
        check_refresh_token(url, token)
    assert [refresh(url, token)[0] for token in spent] == [400] * len(spent)


def check_refresh_token(url: str, token: str) -> None:
    """Assert that a token can be used and retried, but no longer once its only successor was used."""
    answers = [refresh(url, token) for _ in range(2)]
    assert [status for status, _ in answers] == [200, 200]
    (successor,) = {answer["refresh_token"] for _, answer in answers}
    assert [refresh(url, successor)[0], refresh(url, token)[0]] == [200, 400]


# On a busy machine, the services may need longer than the default grace period to recover.
SETTINGS = {"REFRESH_TOKEN_GRACE": "120"}


@pytest.fixture(scope="module")
def own_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with serve_pair(tmp_path_factory.mktemp("crashes"), auth_settings=SETTINGS) as pair:
        yield pair


def test_killed_worker_fails_only_its_own_requests(own_pair: Pair) -> None:
    master, *workers = own_pair.auth.workers()
    with refreshing(own_pair.auth) as load:
        load.wait_for_answers(50)
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: len(set(own_pair.auth.workers()) - {master, *workers}) == 1)
        load.wait_for_answers(50)
        lost = len(load.losses)
        load.wait_for_answers(50)

    assert set(load.answers) == {200}
    assert len(load.losses) == lost <= 6, "only the requests in flight are lost, and none afterwards"
    check_refresh_tokens(own_pair.auth.url, load)


def test_reload_with_sighup_fails_no_request(own_pair: Pair) -> None:
    master, *workers = own_pair.auth.workers()
    with refreshing(own_pair.auth) as load:
        load.wait_for_answers(50)
        os.kill(master, signal.SIGHUP)
        wait_for(lambda: not set(own_pair.auth.workers()) & set(workers))
        load.wait_for_answers(50)

    assert load.losses == []
    assert set(load.answers) == {200}


def test_postgresql_crash_or_restart_under_load_loses_no_session(tmp_path: Path) -> None:
    with (
        serve_postgresql() as database,
        serve_replicas(
            tmp_path / "served", create_database(f"{database.get_uri('auth')}"), settings=SETTINGS
        ) as replicas,
    ):
        with refreshing(*replicas) as load:
            for how in (signal.SIGQUIT, signal.SIGINT):  # a crash, a restart
                load.wait_for_answers(50)
                process = database.get_postmaster_info().process
                assert process
                process.send_signal(how)
                load.wait_for_answers(1, status=503)
                process.wait(20)
                database.ensure_postgres_running()
                load.wait_for_answers(50)

        assert set(load.answers) == {200, 503}
        assert load.losses == [], "every request is answered"
        check_refresh_tokens(replicas[0].url, load)


@dataclass
class Writer:
    """Creates logins, users, courses and enrolments, and records those that were acknowledged."""

    pair: Pair
    token: str
    made: int = 0
    logins: list[str] = field(default_factory=list)  # by their refresh tokens
    users: set[str] = field(default_factory=set)
    courses: set[int] = field(default_factory=set)
    enrolments: set[int] = field(default_factory=set)

    def write(self) -> None:
        self.made += 1
        name = f"user{self.made}"
        with contextlib.suppress(OSError, HTTPException):
            status, answer = call(f"{self.pair.auth.url}/token", form=STUDENT)
            self.logins += [answer["refresh_token"]] if status == 200 else []
        with contextlib.suppress(OSError, HTTPException):
            body = {"username": name, "password": "a good password", "roles": ["student"]}
            assert self.send("POST", f"{self.pair.auth.url}/users", body)["username"] == name
            self.users.add(name)
        with contextlib.suppress(OSError, HTTPException):
            course = self.send("POST", f"{self.pair.course.url}/courses", {"title": name})["id"]
            self.courses.add(course)
            self.send("PUT", f"{self.pair.course.url}/courses/{course}/enrolment", {})
            self.enrolments.add(course)

    def send(self, method: str, url: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{url} answers {error.code}") from None


def rows(database: Path, query: str) -> set[object]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in connection.execute(query)}


@pytest.mark.parametrize("moment", [20, 30])
def test_killed_services_keep_every_acknowledged_change(moment: int, tmp_path: Path) -> None:
    with serve_pair(tmp_path, auth_settings=SETTINGS) as pair:
        writer = Writer(pair, call(f"{pair.auth.url}/token", form=ADMIN)[1]["access_token"])
        with refreshing(pair.auth) as load, repeating(writer.write):
            wait_for(lambda: len(writer.enrolments) >= moment)
            for process in pair.auth.workers() + pair.course.workers():
                os.kill(process, signal.SIGKILL)

        auth, course = tmp_path / "auth/auth.db", tmp_path / "course/course.db"
        assert writer.users <= rows(auth, "SELECT username FROM users")
        assert writer.courses <= rows(course, "SELECT id FROM courses")
        assert writer.enrolments <= rows(course, "SELECT course_id FROM enrolments")
        assert rows(auth, "SELECT id FROM sessions WHERE revoked_at IS NOT NULL") == set()
        with serve_again(pair.auth):
            check_refresh_tokens(pair.auth.url, load, writer.logins)


def test_refresh_can_be_retried_after_a_kill_between_commit_and_response(tmp_path: Path) -> None:
    with serve_pair(tmp_path, auth_settings=SETTINGS) as pair:
        token = call(f"{pair.auth.url}/token", form=STUDENT)[1]["refresh_token"]
        with send_refresh(pair.auth.url, token):
            wait_for(lambda: rows(tmp_path / "auth/auth.db", "SELECT rotated_at FROM sessions") != {None})
            for process in pair.auth.workers():
                os.kill(process, signal.SIGKILL)

        with serve_again(pair.auth):
            check_refresh_token(pair.auth.url, token)


@contextlib.contextmanager
def send_refresh(url: str, refresh_token: str) -> Iterator[None]:
    """Send a refresh request, and do not read the response."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
    form = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": refresh_token})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with contextlib.closing(connection):
        connection.request("POST", "/token", form, headers)
        yield
