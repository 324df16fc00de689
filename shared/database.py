"""Connect a service to its database, SQLite or PostgreSQL, with timeouts; a failing database gets a 503."""

import contextlib
import os
import sqlite3
from typing import Any

from flask import Flask, Response, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from flask_resource_server.exceptions import ConfigurationError
from shared.errors import Unavailable, respond

# Every constraint has a name, so that a migration can change it.
NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}

# How long a request waits for the database at each step. Parameters in the database URL override these.
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": 5},
    "postgresql": {
        "connect_timeout": 5,
        "options": "-c statement_timeout=5s -c lock_timeout=5s",
        # Notice a host that has been cut off: it cannot even close its connections.
        "tcp_user_timeout": 5000,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
    },
}


def init_app(app: Flask, db: SQLAlchemy, migrate: Migrate, *, url: str, setting: str) -> None:
    """Connect `app` to the database at `url`; a relative SQLite path is relative to its instance folder.

    Error messages name `setting`. Raises `ConfigurationError`.
    """
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError):
        raise ConfigurationError(
            f"{setting} is not a database URL: use one such as sqlite:///{app.name.partition('_')[0]}.db or "
            "postgresql://user@host/database"
        ) from None
    backend = parsed.get_backend_name()
    timeouts = _TIMEOUTS.get(backend, {})
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_pre_ping": backend != "sqlite",  # a file cannot close connections
        "hide_parameters": True,
        "connect_args": {name: value for name, value in timeouts.items() if name not in parsed.query},
    }
    db.init_app(app)
    migrate.init_app(app)

    def respond_to_failure(error: SQLAlchemyError) -> Response:
        db.session().invalidate()  # the next request reconnects, perhaps to a standby that has taken over
        current_app.logger.error("the database does not answer: %s", error)
        return respond(Unavailable())

    # The database is down, locked, full, slow or a standby. Nothing was committed, so a retry may succeed.
    for failure in (OperationalError, InternalError, PoolTimeout):
        app.register_error_handler(failure, respond_to_failure)
    with app.app_context():
        event.listen(db.engine, "do_connect", _create_private_file)
        event.listen(db.engine, "connect", _prepare_sqlite)


def lift_statement_timeout(engine: Engine) -> None:
    """Let statements take as long as they need: a command may have to process all rows."""
    if engine.dialect.name == "postgresql":
        event.listen(engine, "begin", _set_no_timeout)


def _set_no_timeout(connection: Connection) -> None:
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _create_private_file(dialect: Dialect, _record: object, arguments: list[Any], _options: object) -> None:
    """Create an SQLite file that only its owner can read; SQLite gives its journal the same mode."""
    if dialect.name == "sqlite" and arguments and arguments[0] != ":memory:":
        with contextlib.suppress(OSError):  # SQLite's own error explains the problem better
            os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
