"""What the authorization server remembers."""

import time
import uuid
from typing import Annotated

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auth_app.database import Base

Seconds = Annotated[int, mapped_column(BigInteger)]  # since the epoch


class User(Base):
    """Somebody who logs in with a name and a password."""

    __tablename__ = "users"

    # Never changes and is never used again, unlike the name: the `sub` of the user's tokens.
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    username: Mapped[str] = mapped_column(String(128), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    roles: Mapped[list[str]] = mapped_column(JSON)
    is_disabled: Mapped[bool] = mapped_column(default=False)
    last_login_at: Mapped[Seconds | None]


class Client(Base):
    """A confidential client: a service with a secret, which gets tokens of its own (RFC 6749 section 2.1)."""

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    resources: Mapped[list[str]] = mapped_column(JSON)  # the resource servers that its tokens may be for


class StatusList(Base):
    """A Token Status List, in which sessions have their places."""

    __tablename__ = "status_lists"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    closes_at: Mapped[Seconds]  # no place is given out from then on
    version: Mapped[int] = mapped_column(default=0)  # goes up with each revocation


class Session(Base):
    """A login and all that came of it: a family of refresh tokens, of which the newest alone is good.

    A refresh token is two secrets: the first names the family for as long as it lives, the second is new with
    each refresh. Both are kept as hashes, so that a spent token of the family is told from a guess.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("status_list_id", "status_index"),
        Index(
            "ix_sessions_revoked",
            "status_list_id",
            "status_index",
            sqlite_where=text("revoked_at IS NOT NULL"),
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    client_id: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(1024))
    resources: Mapped[list[str]] = mapped_column(JSON)
    family_hash: Mapped[str] = mapped_column(String(64), unique=True)
    refresh_token_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[Seconds]
    expires_at: Mapped[Seconds] = mapped_column(index=True)
    revoked_at: Mapped[Seconds | None]
    status_list_id: Mapped[int] = mapped_column(ForeignKey("status_lists.id"))
    status_index: Mapped[int]

    user: Mapped[User] = relationship(lazy="joined")

    @property
    def is_live(self) -> bool:
        """Tell whether the session was not revoked and has not expired, and the user may still log in."""
        return self.revoked_at is None and time.time() < self.expires_at and not self.user.is_disabled


class LoginFailure(Base):
    """A login that failed, once for the account and once for the address that tried."""

    __tablename__ = "login_failures"

    id: Mapped[int] = mapped_column(primary_key=True)
    # A hash, for what was typed as a name may be a password in the wrong field.
    key: Mapped[str] = mapped_column(String(64), index=True)
    failed_at: Mapped[float] = mapped_column(Double, index=True)  # seconds since the epoch
