"""Create a database of the version before browser sign-in (migration 0004), with data in it."""

import hashlib
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flask_migrate
import sqlalchemy as sa
from flask.testing import FlaskClient

from auth_app.models import User
from tests.conftest import find_user
from tests.forger import COURSES, ISSUER
from tests.secrets import remember

LIST = 1_700_000_000 // 10  # a number that, as in that version, comes from the time


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def table(name: str, **columns: Any) -> sa.TableClause:
    return sa.table(name, *(sa.column(column, kind) for column, kind in columns.items()))


# What that version wrote, without columns that are always empty here.
USERS = table(
    "users",
    id=sa.Uuid(),
    username=sa.String(),
    password_hash=sa.String(),
    password_parameters=sa.String(),
    must_change_password=sa.Boolean(),
    roles=sa.JSON(),
    is_disabled=sa.Boolean(),
    deleted_at=sa.BigInteger(),
    last_login_at=sa.BigInteger(),
    version=sa.Integer(),
    session_generation=sa.Integer(),
)
CLIENTS = table(
    "clients",
    id=sa.String(),
    secret_hash=sa.String(),
    previous_secret_hash=sa.String(),
    previous_secret_expires_at=sa.BigInteger(),
    scopes=sa.JSON(),
    resources=sa.JSON(),
    removed_at=sa.BigInteger(),
    session_id=sa.Uuid(),
)
SESSIONS = table(
    "sessions",
    id=sa.Uuid(),
    user_id=sa.Uuid(),
    client_id=sa.String(),
    scope=sa.String(),
    resources=sa.JSON(),
    generation=sa.Integer(),
    family_hash=sa.String(),
    refresh_token_hash=sa.String(),
    created_at=sa.BigInteger(),
    expires_at=sa.BigInteger(),
    revoked_at=sa.BigInteger(),
    revocation_mark=sa.Double(),
    status_list_id=sa.Integer(),
    status_index=sa.Integer(),
)
STATUS_LISTS = table(
    "status_lists",
    id=sa.Integer(),
    size=sa.Integer(),
    closes_at=sa.BigInteger(),
    version=sa.String(),
    changed_at=sa.Double(),
    is_revoked=sa.Boolean(),
)


class OldDatabase:
    """Writes rows as the previous version did."""

    def __init__(self, connection: sa.Connection, user_row: User) -> None:
        self.connection, self.now = connection, int(time.time())
        self.password = {name: getattr(user_row, name) for name in ("password_hash", "password_parameters")}
        self.indexes = iter(range(1, 100))
        self.insert(
            STATUS_LISTS,
            id=LIST,
            size=1024,
            closes_at=self.now + 3600,
            version=uuid.uuid4().hex,
            changed_at=time.time(),
            is_revoked=False,
        )

    def insert(self, into: sa.TableClause, **values: Any) -> None:
        self.connection.execute(sa.insert(into).values(**values))

    def add_user(self, username: str, **changes: Any) -> uuid.UUID:
        user = {
            "id": uuid.uuid4(),
            "username": username,
            "must_change_password": False,
            "roles": ["student"],
            "is_disabled": False,
            "version": 3,
            "session_generation": 2,
            **self.password,
            **changes,
        }
        self.insert(USERS, **user)
        user_id: uuid.UUID = user["id"]
        return user_id

    def add_session(self, user_id: uuid.UUID | None, client_id: str, **changes: Any) -> tuple[uuid.UUID, str]:
        """Add a session and return its ID and its refresh token."""
        family, secret, session_id = secrets.token_urlsafe(32), secrets.token_urlsafe(32), uuid.uuid4()
        session = {
            "id": session_id,
            "user_id": user_id,
            "client_id": client_id,
            "scope": "courses:read" if user_id else "",
            "resources": [ISSUER, COURSES] if user_id else [],
            "generation": 2 if user_id else 0,
            "family_hash": digest(family),
            "refresh_token_hash": digest(family + secret),
            "created_at": self.now - 3600,
            "expires_at": self.now + 86400,
            "status_list_id": LIST,
            "status_index": next(self.indexes),
            **changes,
        }
        self.insert(SESSIONS, **session)
        remember({"refresh_token": family + secret})
        return session_id, family + secret

    def add_client(self, client_id: str, secret: str, **changes: Any) -> None:
        client = {
            "id": client_id,
            "secret_hash": digest(secret),
            "scopes": ["courses:read"],
            "resources": [ISSUER, COURSES],
            **changes,
        }
        self.insert(CLIENTS, **client)


@contextmanager
def upgrading(auth: FlaskClient) -> Iterator[OldDatabase]:
    """Yield a database of revision 0004 to be filled, and upgrade it afterwards."""
    user = find_user(auth, "student1")
    with auth.application.app_context():
        engine = auth.application.extensions["sqlalchemy"].engine
        flask_migrate.downgrade(revision="base")
        flask_migrate.upgrade(revision="0004")
        with engine.begin() as connection:
            yield OldDatabase(connection, user)
        flask_migrate.upgrade(revision="0005")
