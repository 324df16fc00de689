"""Tables of users, failed logins, and the addresses and browsers that users log in from."""

import uuid

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from auth_app.database import Base
from auth_app.models.columns import Digest, Moment, Seconds


class User(Base):
    """A user, who logs in with a user name and a password.

    The row of a deleted user stays, without name, password and roles, so that its `id` is never reused.
    """

    __tablename__ = "users"
    __table_args__ = (
        # Finds a page of users without reading deleted ones.
        Index(
            "ix_users_present",
            "username",
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    # The `sub` of the user's tokens. Unlike the name, it never changes and is never reused.
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    username: Mapped[str] = mapped_column(String(128), unique=True)
    # What `/userinfo` returns, as administrators have entered it.
    name: Mapped[str | None] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(254))
    email_verified: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[Seconds | None]  # the last change of what `/userinfo` returns
    password_hash: Mapped[str] = mapped_column(String(255))
    # The algorithm and costs of the hash. decoys.py makes a dummy hash for each value in use.
    password_parameters: Mapped[str] = mapped_column(String(64), index=True)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    roles: Mapped[list[str]] = mapped_column(JSON)
    is_disabled: Mapped[bool] = mapped_column(default=False)
    deleted_at: Mapped[Seconds | None]
    last_login_at: Mapped[Seconds | None]
    version: Mapped[int] = mapped_column(default=1)  # of what administrators change, for the ETag
    # Increasing it ends all sessions of the user in one write: a session of an older generation has ended.
    session_generation: Mapped[int] = mapped_column(default=0)


class LoginFailure(Base):
    """A failed login: for which account, from which address, and when."""

    __tablename__ = "login_failures"
    __table_args__ = (
        Index("ix_login_failures_pair", "account", "address", "failed_at"),
        Index("ix_login_failures_account", "account", "failed_at"),
        Index("ix_login_failures_address", "address", "failed_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    # Hashes, because the user may have typed a password into the field for the user name.
    account: Mapped[Digest]
    address: Mapped[Digest]
    failed_at: Mapped[Moment] = mapped_column(index=True)


class KnownAddress(Base):
    """An address or browser from which a user has recently logged in, so that others' failures do not count.

    `address` is a digest of the address, or of the browser's long-lived cookie.
    """

    __tablename__ = "known_addresses"
    __table_args__ = (Index("ix_known_addresses_address", "address", "last_login_at"),)

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_login_at: Mapped[Seconds] = mapped_column(index=True)
