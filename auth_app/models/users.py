"""Tables of users, and of where they log in and fail to."""

import uuid

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from auth_app.database import Base
from auth_app.models.columns import Digest, Moment, Seconds


class User(Base):
    """Somebody who logs in with a name and a password.

    The row of a deleted user stays, without name, password and roles, so that its `id` is never used again.
    """

    __tablename__ = "users"
    __table_args__ = (
        # Finds a page of users without reading past those who were deleted.
        Index(
            "ix_users_present",
            "username",
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    # Never changes and is never used again, unlike the name: the `sub` of the user's tokens.
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    username: Mapped[str] = mapped_column(String(128), unique=True)
    # What applications are told at `/userinfo`, as administrators have entered it.
    name: Mapped[str | None] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(254))
    email_verified: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[Seconds | None]  # the last change of what applications are told
    password_hash: Mapped[str] = mapped_column(String(255))
    # The algorithm and costs of the hash: a failed login has to cost the same whatever a user's hash costs.
    password_parameters: Mapped[str] = mapped_column(String(64), index=True)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    roles: Mapped[list[str]] = mapped_column(JSON)
    is_disabled: Mapped[bool] = mapped_column(default=False)
    deleted_at: Mapped[Seconds | None]
    last_login_at: Mapped[Seconds | None]
    version: Mapped[int] = mapped_column(default=1)  # of what administrators see and change, for its ETag
    # A session of another generation has ended: one small write ends all sessions of a user.
    session_generation: Mapped[int] = mapped_column(default=0)


class LoginFailure(Base):
    """A login that failed: for which account, and from which address."""

    __tablename__ = "login_failures"
    __table_args__ = (
        Index("ix_login_failures_pair", "account", "address", "failed_at"),
        Index("ix_login_failures_account", "account", "failed_at"),
        Index("ix_login_failures_address", "address", "failed_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    # Hashes, for what was typed as a name may be a password in the wrong field.
    account: Mapped[Digest]
    address: Mapped[Digest]
    failed_at: Mapped[Moment] = mapped_column(index=True)


class KnownAddress(Base):
    """An address or a browser in which a user has logged in lately: others' failures do not count there.

    `address` is a digest of the address, or of the cookie by which the browser is known again.
    """

    __tablename__ = "known_addresses"
    __table_args__ = (Index("ix_known_addresses_address", "address", "last_login_at"),)

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_login_at: Mapped[Seconds] = mapped_column(index=True)
