"""The course service's database: its connection, the base class of its tables, and its migrations."""

from pathlib import Path

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from shared import database


class Base(DeclarativeBase):
    """The base class of the tables."""

    metadata = MetaData(naming_convention=database.NAMING_CONVENTION)


db = SQLAlchemy(metadata=Base.metadata)
migrate = Migrate(db=db, directory=str(Path(__file__).parent / "migrations"))


def init_app(app: Flask, url: str) -> None:
    """Connect `app` to the database at `url`. Raises `ConfigurationError`."""
    database.init_app(app, db, migrate, url=url, setting="COURSE_DATABASE_URL")
