"""The authorization server's own database."""

from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Executable, MetaData, bindparam, delete, inspect, select, tuple_
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute

from shared import database


class Base(DeclarativeBase):
    """The base class of the tables."""

    metadata = MetaData(naming_convention=database.NAMING_CONVENTION)


# What was read is not read again after a commit: each request has a session of its own, and ends soon.
db = SQLAlchemy(metadata=Base.metadata, session_options={"expire_on_commit": False})
migrate = Migrate(db=db, directory=str(Path(__file__).parent / "migrations"))


def init_app(app: Flask, url: str) -> None:
    """Connect `app`. Raises `ConfigurationError`."""
    database.init_app(app, db, migrate, url=url, setting="AUTH_DATABASE_URL")


def delete_expired(model: type[Base], column: InstrumentedAttribute[Any], before: float) -> None:
    """Delete at most a hundred rows whose `column`, a time in seconds, is not after `before`.

    Called wherever rows of the kind are added, so that a table does not grow for ever and needs no cron job.
    """
    db.session.execute(_delete_up_to(model, column), {"before": before})


@cache
def _delete_up_to(model: type[Base], column: InstrumentedAttribute[Any]) -> Executable:
    key = tuple_(*inspect(model).primary_key)
    # Rows that another worker is deleting are left to it: waiting for each other, both could stand still.
    # In the order of the index, which PostgreSQL would otherwise leave aside when its statistics are bad.
    expired = select(*key).where(column <= bindparam("before")).order_by(column).limit(100)
    rows = expired.with_for_update(skip_locked=True)
    return delete(model).where(key.in_(rows)).execution_options(synchronize_session=False)
