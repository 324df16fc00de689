"""When dependencies fail, the services refuse clearly, recover by themselves, and lose nothing."""

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import KeyPair, bearer, log_in, open_auth, open_course
from tests.forger import Forger
from tests.servers import environment_for, run_flask

STUDENT = {"username": "student1", "password": "password123"}
GONE = {
    "error": "temporarily_unavailable",
    "error_description": "The service is temporarily unavailable. Try again later.",
}


def is_unavailable(response: TestResponse) -> bool:
    return (response.status_code, response.json, response.headers.get("Retry-After")) == (503, GONE, "1")


def path_of(client: FlaskClient) -> str:
    with client.application.app_context():
        return str(client.application.extensions["sqlalchemy"].engine.url.database)


def test_write_to_a_locked_database_gets_503(auth: FlaskClient) -> None:
    with contextlib.closing(sqlite3.connect(path_of(auth), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert is_unavailable(auth.post("/token", data=STUDENT))
        assert auth.get("/readyz").status_code == 200, "it can be read"
        other.execute("ROLLBACK")

    assert auth.post("/token", data=STUDENT).status_code == 200


@pytest.fixture
def full(course: FlaskClient) -> Callable[[int], None]:
    """Return a function that limits the pages of the database, as a full disk does."""
    pages = 2**30

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def set_limit(number: int) -> None:
        nonlocal pages
        pages = number

    with course.application.app_context():
        engine = course.application.extensions["sqlalchemy"].engine
        sa.event.listen(engine, "checkout", limit)
    return set_limit


def test_full_database_refuses_writes_and_keeps_acknowledged_ones(
    full: Callable[[int], None], course: FlaskClient, forger: Forger
) -> None:
    headers = bearer(forger.sign(scope="courses:read courses:write"))
    body = {"title": "Long", "description": "x" * 2000}
    full(1)

    answers = [course.post("/courses", json=body, headers=headers) for _ in range(10)]
    kept = [answer.get_json()["id"] for answer in answers if answer.status_code == 201]

    assert is_unavailable(answers[-1])
    assert all(answer.status_code == 201 or is_unavailable(answer) for answer in answers)
    full(2**30)
    assert course.post("/courses", json=body, headers=headers).status_code == 201
    assert all(course.get(f"/courses/{number}", headers=headers).status_code == 200 for number in kept)


@contextlib.contextmanager
def administer(url: str) -> Iterator[sa.Connection]:
    """Yield a connection to another database of a PostgreSQL server."""
    engine = sa.create_engine(sa.make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("application", ["auth", "course"])
def test_service_recovers_when_the_database_comes_back(
    application: str, new_database: Callable[[], str], key_pair: KeyPair, forger: Forger
) -> None:
    url = new_database()
    name = sa.make_url(url).database
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        if application == "auth":
            client = enter(open_auth(url, key_pair))
            token = log_in(client)["access_token"]
        else:
            client = enter(open_course(url, key_pair))
            token = forger.sign()
        path = "/users/me" if application == "auth" else "/courses"
        assert client.get(path, headers=bearer(token)).status_code == 200
        end = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        with administer(url) as server:
            server.execute(end, {"name": name})
            assert client.get(path, headers=bearer(token)).status_code == 200, "lost connections are replaced"

            server.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
            server.execute(end, {"name": name})
            assert is_unavailable(client.get(path, headers=bearer(token)))
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            server.execute(sa.text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))

        assert client.get(path, headers=bearer(token)).status_code == 200
        assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_request_without_a_free_database_connection_gets_503(
    new_database: Callable[[], str], key_pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_auth(new_database(), key_pair) as auth, contextlib.ExitStack() as stack:
        token = log_in(auth)["access_token"]
        with auth.application.app_context():
            engine = auth.application.extensions["sqlalchemy"].engine
        monkeypatch.setattr(engine.pool, "_timeout", 0.1)  # instead of half a minute
        for _ in range(engine.pool.size() + engine.pool._max_overflow):
            stack.enter_context(engine.connect())

        assert is_unavailable(auth.get("/users/me", headers=bearer(token)))


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_read_only_standby_refuses_writes_until_it_is_promoted(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    url = new_database()
    with open_auth(url, key_pair) as auth, administer(url) as server:
        token = log_in(auth)["access_token"]
        for mode in ("on", "off"):
            name = sa.make_url(url).database
            server.execute(sa.text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {mode}'))
            if mode == "on":
                with auth.application.app_context():
                    auth.application.extensions["sqlalchemy"].engine.dispose()
                assert auth.get("/users/me", headers=bearer(token)).status_code == 200
                assert is_unavailable(auth.post("/token", data=STUDENT))

        assert auth.post("/token", data=STUDENT).status_code == 200


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_request_to_a_slow_database_times_out(
    new_database: Callable[[], str], key_pair: KeyPair, forger: Forger
) -> None:
    url = new_database()
    engine = sa.create_engine(url)
    with open_course(url, key_pair) as course:
        with engine.begin() as other:
            other.execute(sa.text("LOCK TABLE courses"))
            started = time.monotonic()
            assert is_unavailable(course.get("/courses", headers=bearer(forger.sign())))
            assert time.monotonic() - started < 20

        assert course.get("/courses", headers=bearer(forger.sign())).status_code == 200
    engine.dispose()


@pytest.mark.parametrize("command", ["generate", "rotate"])
def test_full_disk_leaves_the_keys_unchanged(command: str, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    if command == "rotate":
        run_flask("wsgi_auth", "keys generate", {}, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}

    # No file may grow, as on a full disk.
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {sys.executable} -m flask --app wsgi_auth keys {command}"],
        env=environment_for({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert full.returncode == 1
    assert "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == before
    run_flask("wsgi_auth", f"keys {command}", {}, tmp_path)
