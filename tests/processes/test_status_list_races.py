"""Status lists contain every revocation, however many happen at once and whatever the database does."""

import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import StatusList
from flask_resource_server.tokens.keys import read_key_file
from flask_resource_server.tokens.public_keys import FixedKeys
from flask_resource_server.tokens.status_list import parse_status_list, read_reference
from tests.conftest import KeyPair, both_databases, change_row, log_in, open_auth, read_claims
from tests.databases import create_database, make_databases
from tests.servers import Server, call, serve_replicas, wait_for
from tests.sessions import insert_sessions
from tests.unit.test_status_lists import LISTS, fetch, replicate, status_of

STUDENT = {"username": "student1", "password": "password123"}
PATH = "/.well-known/status-list/1"


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


def read_list(server: Server) -> str:
    with urllib.request.urlopen(server.url + PATH, timeout=60) as response:
        text: str = response.read().decode()
        return text


def bits_of(server: Server, token: str) -> Any:
    keys = read_key_file(server.log.parent / "keys/public_key.pem")
    return parse_status_list(token, LISTS + "/1", FixedKeys(keys))


def test_simultaneous_revocations_at_two_replicas_all_appear(replicas: list[Server]) -> None:
    tokens: list[str] = []
    while len(tokens) < 60:
        status, answer = call(f"{replicas[0].url}/token", form=STUDENT)
        tokens += [answer["access_token"]] if status == 200 else []
    indexes = [read_reference(read_claims(token))[1] for token in tokens]
    over, lists = threading.Event(), list[tuple[int, str]]()

    def watch(number: int) -> None:
        while not over.is_set():
            lists.append((number, read_list(replicas[number])))

    def revoke(number: int) -> int:
        return call(f"{replicas[number % 2].url}/revoke", form={"token": tokens[number]})[0]

    with ThreadPoolExecutor(8) as pool:
        watchers = [pool.submit(watch, number) for number in range(2)]
        statuses = list(pool.map(revoke, range(len(tokens))))
        over.set()
        for watcher in watchers:
            watcher.result()

    assert set(statuses) == {200}
    for server in replicas:
        for _ in range(4):  # most likely from each of its workers
            newest = bits_of(server, read_list(server))
            assert [newest[index] for index in indexes] == [1] * len(indexes)
    assert read_list(replicas[0]) == read_list(replicas[1])
    check_order(lists, lambda token: tuple(bits_of(replicas[0], token)[index] for index in indexes))


def check_order(lists: list[tuple[int, str]], bits: Callable[[str], tuple[int, ...]]) -> None:
    """Assert that a list that was issued later has every bit of an earlier one."""
    issued = sorted(
        {token: read_claims(token)["iat"] for _, token in lists}.items(), key=lambda pair: pair[1]
    )
    assert len(issued) > 2, "lists were read in between"
    for (older, before), (newer, after) in pairwise(issued):
        assert all(now >= then for then, now in zip(bits(older), bits(newer), strict=True))
        assert before < after or bits(older) == bits(newer)


@both_databases
def test_issue_time_increases_with_every_change(auth: FlaskClient) -> None:
    times = []
    for _ in range(5):
        auth.post("/revoke", data={"token": log_in(auth)["access_token"]})
        times.append(read_claims(fetch(auth))["iat"])

    assert times == sorted(set(times))


def change_clock(client: FlaskClient, ahead: float) -> None:
    change_row(client, sa.update(StatusList).values(changed_at=time.time() + ahead))


@both_databases
@pytest.mark.parametrize("ahead", [5, 100, 10**6])
def test_later_revocations_appear_after_a_change_by_a_replica_with_a_fast_clock(
    ahead: float, auth: FlaskClient, key_pair: KeyPair
) -> None:
    first, second, third = (log_in(auth) for _ in range(3))
    auth.post("/revoke", data={"token": first["access_token"]})
    change_clock(auth, ahead)
    with auth.application.app_context():
        session = auth.application.extensions["sqlalchemy"].session
        session.execute(
            sa.text(
                "UPDATE sessions SET revocation_mark = (SELECT changed_at FROM status_lists) "
                "WHERE revoked_at IS NOT NULL"
            )
        )
        session.execute(sa.text("UPDATE status_lists SET version = 'ahead'"))
        session.commit()
    assert status_of(auth, key_pair, first) == 1

    auth.post("/revoke", data={"token": second["access_token"]})
    change_row(auth, sa.update(StatusList).values(changed_at=StatusList.changed_at))
    assert [status_of(auth, key_pair, answer) for answer in (first, second, third)] == [1, 1, 0]
    auth.post("/revoke", data={"token": third["access_token"]})

    assert [status_of(auth, key_pair, answer) for answer in (first, second, third)] == [1, 1, 1]


def test_later_revocations_are_served_after_a_failover_lost_one(
    new_database: Callable[[], str], key_pair: KeyPair, tmp_path: Path
) -> None:
    with open_auth(new_database(), key_pair) as auth, replicate(auth) as other:
        lost, later = log_in(auth), log_in(auth)
        tag = auth.get(PATH).headers["ETag"]
        with auth.application.app_context():
            engine = auth.application.extensions["sqlalchemy"].engine
        path, copy = Path(str(engine.url.database)), tmp_path / "copy.db"
        back_up(path, copy)
        auth.post("/revoke", data={"token": lost["access_token"]})
        assert status_of(auth, key_pair, lost) == 1
        with_lost = read_claims(fetch(auth))["iat"]

        for client in (auth, other):
            with client.application.app_context():
                client.application.extensions["sqlalchemy"].engine.dispose()
        back_up(copy, path)
        other.post("/revoke", data={"token": later["access_token"]})

        for client in (auth, other):
            answer = client.get(PATH, headers={"If-None-Match": tag})
            assert answer.status_code == 200
            assert read_claims(answer.text)["iat"] > with_lost, "verifiers treat it as newer"
            assert status_of(client, key_pair, later) == 1
            assert status_of(client, key_pair, lost) == 0, "the database has lost it"
        assert fetch(auth) == fetch(other)


def back_up(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


def test_processes_that_set_bits_together_miss_no_session(replicas: list[Server]) -> None:
    """Two workers that set the bits of one user do not consider the job done while some are left."""
    status, answer = call(f"{replicas[0].url}/token", form=STUDENT)
    assert status == 200
    engine = sa.create_engine(replicas[0].environment["AUTH_DATABASE_URL"])
    insert_sessions(engine, "student1", range(500_000, 520_000))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET session_generation = session_generation + 1"))
        connection.execute(
            sa.text("INSERT INTO revocation_jobs (user_id) SELECT id FROM users WHERE username = 'student1'")
        )

    left = sa.text("SELECT count(*) FROM sessions WHERE revoked_at IS NULL")
    jobs = sa.text("SELECT count(*) FROM revocation_jobs")

    def is_done() -> bool:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: call(f"{replicas[n % 2].url}/.well-known/status-list"), range(8)))
        with engine.connect() as connection:
            return bool(connection.scalar(jobs) == 0)

    wait_for(is_done, seconds=120)
    with engine.connect() as connection:
        assert connection.scalar(left) == 0
    engine.dispose()
    assert call(f"{replicas[1].url}/users/me", answer["access_token"])[0] == 401
