"""Connect the course service to its own database: SQLite, or PostgreSQL by its URL."""

import sqlite3
from pathlib import Path

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase

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
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_pre_ping": True, "hide_parameters": True}
    db.init_app(app)
    migrate.init_app(app)
    with app.app_context():
        event.listen(db.engine, "connect", _prepare_sqlite)


def _prepare_sqlite(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA busy_timeout = 5000")
