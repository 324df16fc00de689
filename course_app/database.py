"""Connect the course service to its own database: SQLite, or PostgreSQL by its URL."""

import sqlite3
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase

from shared.errors import Unavailable, respond
from shared.startup import StartupError


class Base(DeclarativeBase):
    """What the tables have in common: names for their constraints, so that a migration can change them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )


db = SQLAlchemy(metadata=Base.metadata)

# How long a request waits for the database at each step, unless its URL says otherwise.
_PATIENCE: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": 5},
    "postgresql": {
        "connect_timeout": 5,
        "options": "-c statement_timeout=5s -c lock_timeout=5s",
        # A host that was cut off sends nothing, not even that it is gone.
        "tcp_user_timeout": 5000,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
    },
}

migrate = Migrate(db=db, directory=str(Path(__file__).parent / "migrations"))


def init_app(app: Flask, url: str) -> None:
    """Connect `app`; a relative SQLite file lies in its instance folder. Raises `StartupError`."""
    try:
        make_url(url).get_dialect()
    except (ArgumentError, NoSuchModuleError):
        raise StartupError(
            "COURSE_DATABASE_URL is not a database's URL: give one such as sqlite:///course.db or "
            "postgresql://user:password@host/database"
        ) from None
    parsed = make_url(url)
    patience = _PATIENCE.get(parsed.get_backend_name(), {})
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_pre_ping": True,
        "hide_parameters": True,
        "connect_args": {name: value for name, value in patience.items() if name not in parsed.query},
    }
    db.init_app(app)
    migrate.init_app(app)
    # It is gone, locked, full, slow or a standby: nothing was promised, and a later request may succeed.
    for failure in (OperationalError, InternalError, PoolTimeout):
        app.register_error_handler(failure, _respond_to_failure)
    with app.app_context():
        event.listen(db.engine, "connect", _prepare_sqlite)


def _respond_to_failure(error: SQLAlchemyError) -> Response:
    db.session().invalidate()  # the next request connects anew, perhaps to the standby that took over
    current_app.logger.error("the database does not answer: %s", error)
    return respond(Unavailable())


def _prepare_sqlite(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
