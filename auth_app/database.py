"""Connect to the authorization server's database, and delete expired rows."""

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
    """The base class of the models."""

    metadata = MetaData(naming_convention=database.NAMING_CONVENTION)


# Objects are not reloaded after a commit: each request has a database session of its own, and is short.
db = SQLAlchemy(metadata=Base.metadata, session_options={"expire_on_commit": False})
migrate = Migrate(db=db, directory=str(Path(__file__).parent / "migrations"))


def init_app(app: Flask, url: str) -> None:
    """Connect `app` to the database at `url`. Raises `ConfigurationError`."""
    database.init_app(app, db, migrate, url=url, setting="AUTH_DATABASE_URL")


def delete_expired(model: type[Base], column: InstrumentedAttribute[Any], before: float) -> None:
    """Delete at most a hundred rows whose `column`, a time in seconds, is not after `before`.

    Called wherever such rows are added, so that the table stays small without a cron job. The caller commits.
    """
    db.session.execute(_delete_up_to(model, column), {"before": before})


@cache
def _delete_up_to(model: type[Base], column: InstrumentedAttribute[Any]) -> Executable:
    key = tuple_(*inspect(model).primary_key)
    # Skip rows that another worker is deleting, because waiting for them could lead to a deadlock. Without
    # ORDER BY, PostgreSQL may not use the index when its statistics are outdated.
    expired = select(*key).where(column <= bindparam("before")).order_by(column).limit(100)
    rows = expired.with_for_update(skip_locked=True)
    return delete(model).where(key.in_(rows)).execution_options(synchronize_session=False)
