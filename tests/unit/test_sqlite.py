"""SQLite is configured so that several processes can share one file."""

import os
import stat
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from shared import database


def test_connection_uses_wal_foreign_keys_and_a_busy_timeout(service: FlaskClient) -> None:
    with service.application.app_context():
        connection = service.application.extensions["sqlalchemy"].session.connection()
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        ]

    assert values == ["wal", 1, 5000]


def test_database_files_are_readable_only_by_their_owner(tmp_path: Path) -> None:
    app, umask = Flask("service"), os.umask(0o022)
    db = SQLAlchemy()
    database.init_app(app, db, Migrate(), url=f"sqlite:///{tmp_path}/new.db", setting="DATABASE_URL")

    try:
        with app.app_context(), db.engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE things (id INTEGER)")
            connection.commit()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
            connection.close()
            db.engine.dispose()
    finally:
        os.umask(umask)

    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}
