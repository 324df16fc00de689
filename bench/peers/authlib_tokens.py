"""Authlib's authorization server for Flask: password, refresh_token, client_credentials; tokens in SQLite.

In its best form: the key is an object that is loaded once, the database is in WAL mode, and a request ends in
one commit.
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from authlib.common.security import generate_token
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.sqla_oauth2 import OAuth2ClientMixin, OAuth2TokenMixin
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask
from flask.wrappers import Response
from flask_sqlalchemy import SQLAlchemy
from joserfc.jwk import RSAKey
from sqlalchemy import event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

LIFETIME = 900  # seconds, as of our access tokens
DATABASE = Path("authlib.db").absolute()
KEY = RSAKey.import_key(os.environ["BENCH_PRIVATE_KEY"])
HASHER = PasswordHasher(
    int(os.environ["BENCH_ARGON2_PASSES"]), int(os.environ["BENCH_ARGON2_MEMORY"]), parallelism=1
)

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # everything is on loopback
app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{DATABASE}"


class Base(DeclarativeBase):
    """The base class of the tables."""


db = SQLAlchemy(app, metadata=Base.metadata, session_options={"expire_on_commit": False})


class User(Base):
    """A user with a password."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]

    def get_user_id(self) -> int:
        """Return the `sub` of the user's tokens."""
        return self.id


class Client(Base, OAuth2ClientMixin):
    """A registered client."""

    __tablename__ = "clients"

    id: Mapped[int] = mapped_column(primary_key=True)


class Token(Base, OAuth2TokenMixin):
    """An issued access token, with its refresh token if there is one."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None]


class TokenGenerator(JWTBearerTokenGenerator):
    """Signs access tokens (RFC 9068)."""

    def get_jwks(self) -> RSAKey:
        """Return the key that signs."""
        return KEY

    def get_audiences(self, *_about: object) -> str:
        """Return the only resource."""
        return os.environ["RESOURCE"]


class ClientCredentialsGrant(grants.ClientCredentialsGrant):
    """The client_credentials grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)


class PasswordGrant(grants.ResourceOwnerPasswordCredentialsGrant):
    """The password grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

    def authenticate_user(self, username: str, password: str) -> User | None:
        """Return the user whose password this is."""
        user = db.session.scalar(select(User).where(User.username == username))
        try:
            return user if user and HASHER.verify(user.password_hash, password) else None
        except VerifyMismatchError:
            return None


class RefreshTokenGrant(grants.RefreshTokenGrant):
    """The refresh_token grant, with rotation."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        """Return the tokens issued with a refresh token, unless it was used."""
        token = db.session.scalar(select(Token).where(Token.refresh_token == refresh_token))
        return token if token and not token.is_revoked() else None

    def authenticate_user(self, refresh_token: Token) -> User | None:
        """Return the user of a token."""
        return db.session.get(User, refresh_token.user_id)

    def revoke_old_credential(self, refresh_token: Token) -> None:
        """Mark a refresh token as used."""
        refresh_token.refresh_token_revoked_at = refresh_token.access_token_revoked_at = int(time.time())


def query_client(client_id: str) -> Client | None:
    """Return a registered client."""
    return db.session.scalar(select(Client).where(Client.client_id == client_id))


def save_token(token: dict[str, Any], request: Any) -> None:
    """Store issued tokens."""
    user_id = request.user.id if request.user else None
    db.session.add(Token(client_id=request.client.client_id, user_id=user_id, **token))


server = AuthorizationServer(app, query_client, save_token)
generator = TokenGenerator(
    os.environ["ISSUER"],
    refresh_token_generator=lambda **_about: generate_token(48),
    expires_generator=lambda _client, _grant: LIFETIME,
)
server.register_token_generator("default", generator)
for grant in (ClientCredentialsGrant, PasswordGrant, RefreshTokenGrant):
    server.register_grant(grant)


@app.post("/token")
def issue_token() -> Response:
    """Return the response for a grant."""
    response: Response = server.create_token_response()
    db.session.commit()
    return response


def use_wal(connection: sqlite3.Connection, _record: object) -> None:
    """Set WAL, as in our own databases. `synchronous` stays FULL: a commit waits for the disk."""
    connection.execute("PRAGMA journal_mode = WAL")


def add_demo_data() -> None:
    """Register a client and a user."""
    client = Client(client_id=os.environ["BENCH_CLIENT_ID"], client_secret=os.environ["BENCH_CLIENT_SECRET"])
    client.set_client_metadata(
        {
            "scope": "courses:read",
            "grant_types": ["password", "refresh_token", "client_credentials"],
            "token_endpoint_auth_method": "client_secret_post",
        }
    )
    db.session.add_all([client, User(username="student1", password_hash=HASHER.hash("password123"))])
    db.session.commit()


with app.app_context():
    event.listen(db.engine, "connect", use_wal)
    if not DATABASE.exists():
        db.create_all()
        add_demo_data()
    db.engine.dispose()  # workers must not inherit connections
