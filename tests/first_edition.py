"""Create databases with the data that version 0.1.0 wrote.

`first_edition.json` has every row of two SQLite databases that 0.1.0 itself filled: by its commands
`demo-data`, `users add` and `clients add`, by logins, refreshes and revocations, and by requests to its
course service. Times are seconds before or after the moment at which the rows were read. The migrations of
0.1.0 end with 0003 and 0002, and have not changed since.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flask_migrate
import sqlalchemy as sa
from flask import Flask

from tests.secrets import remember
from tests.servers import ROOT

LAST_MIGRATIONS = {"auth": "0003", "course": "0002"}

_DATA: dict[str, Any] = json.loads((ROOT / "tests/first_edition.json").read_text())
_TIMES = {"closes_at", "created_at", "expires_at", "failed_at", "last_login_at", "revoked_at"}
_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    **dict.fromkeys(("roles", "scopes", "resources"), sa.JSON()),
    "is_disabled": sa.Boolean(),
}
_UUIDS = {("users", "id"), ("sessions", "id"), ("sessions", "user_id")}
_ORDER = ("users", "clients", "status_lists", "sessions", "login_failures", "courses", "enrolments")

CLIENT = ("reports", _DATA["client_secret"])
REFRESH_TOKENS: dict[str, str] = _DATA["refresh_tokens"]
PASSWORDS = {
    "student1": "password123",
    "teacher1": "password456",
    "admin1": "password789",
    "ada": "another horse battery",
    "carl": "a password of another application",
}
LIST_PATH = "/.well-known/status-list/1"


@dataclass(frozen=True)
class OldSession:
    """A session as 0.1.0 stored it."""

    id: str
    user_id: str
    client_id: str
    status_index: int
    is_revoked: bool


SESSIONS = [
    OldSession(
        row["id"], row["user_id"], row["client_id"], row["status_index"], row["revoked_at"] is not None
    )
    for row in _DATA["auth"]["sessions"]
]
USER_IDS: dict[str, str] = {row["username"]: row["id"] for row in _DATA["auth"]["users"]}


def restore_old_database(app: Flask, service: str) -> None:
    """Replace the tables of `auth` or `course` by those of 0.1.0, with its rows."""
    with app.app_context():
        flask_migrate.downgrade(revision="base")
        flask_migrate.upgrade(revision=LAST_MIGRATIONS[service])
        with app.extensions["sqlalchemy"].engine.begin() as connection:
            insert_rows(connection, service)


def insert_rows(connection: sa.Connection, service: str) -> None:
    """Insert the rows of a service into empty tables of 0.1.0."""
    for secret in (*REFRESH_TOKENS.values(), *PASSWORDS.values(), CLIENT[1]):
        remember({"token": secret})
    tables = _DATA[service]
    for name in _ORDER:
        if rows := tables.get(name):
            kinds = (sa.column(column, _type_of(name, column)) for column in rows[0])
            connection.execute(sa.insert(sa.table(name, *kinds)), [_shift(row) for row in rows])
            if connection.dialect.name == "postgresql" and isinstance(rows[0].get("id"), int):
                _advance_sequence(connection, name, max(row["id"] for row in rows))


def stored_rows(service: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table without times, in the order of their IDs."""
    return _without_times(_DATA[service][table])


def read_rows(connection: sa.Connection, service: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables as `stored_rows` does. Fails if a table lacks a column of 0.1.0."""
    found = {}
    for name, rows in _DATA[service].items():
        kinds = [sa.column(column, _type_of(name, column)) for column in rows[0]]
        selected = connection.execute(sa.select(*kinds).select_from(sa.table(name))).mappings()
        found[name] = _without_times([dict(row) for row in selected])
    return found


def _without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [{name: value for name, value in row.items() if name not in _TIMES} for row in rows]
    return sorted(kept, key=lambda row: str(row.get("id")))


def _type_of(table: str, column: str) -> sa.types.TypeEngine[Any] | None:
    return sa.Uuid(as_uuid=False) if (table, column) in _UUIDS else _TYPES.get(column)


def _shift(row: Mapping[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {
        name: value + now if name in _TIMES and value is not None else value for name, value in row.items()
    }


def _advance_sequence(connection: sa.Connection, table: str, last: int) -> None:
    sequence = sa.func.pg_get_serial_sequence(table, "id")
    connection.execute(sa.select(sa.func.setval(sequence, last)))
