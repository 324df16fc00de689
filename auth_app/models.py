"""What the authorization server remembers."""

import time
import uuid
from typing import Annotated

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auth_app.database import Base

Seconds = Annotated[int, mapped_column(BigInteger)]  # since the epoch
Moment = Annotated[float, mapped_column(Double)]  # seconds since the epoch, to the millisecond or finer
Digest = Annotated[str, mapped_column(String(64))]  # SHA-256 in hexadecimal

# The `client_id` of our own applications that run on their users' machines and can keep no secret.
FIRST_PARTY = "first-party"


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


class Client(Base):
    """A confidential client: a service with a secret, which gets tokens of its own (RFC 6749 section 2.1).

    The row of a removed client stays, so that its ID, the `sub` of its tokens, is never given to another.
    """

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    secret_hash: Mapped[Digest]
    # The secret before the last `set-secret`, for as long as both are accepted.
    previous_secret_hash: Mapped[Digest | None]
    previous_secret_expires_at: Mapped[Seconds | None]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    resources: Mapped[list[str]] = mapped_column(JSON)  # the resource servers that its tokens may be for
    removed_at: Mapped[Seconds | None]
    # The session that the client's own tokens belong to; another one takes its place when it has ended.
    session_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="SET NULL", use_alter=True), index=True
    )


class StatusList(Base):
    """A Token Status List, in which sessions have their indexes."""

    __tablename__ = "status_lists"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    closes_at: Mapped[Seconds]  # no index is given out from then on
    # Unique, not counted: a number could come again after a failover that lost the last changes.
    version: Mapped[str] = mapped_column(String(32), default=lambda: uuid.uuid4().hex)
    changed_at: Mapped[Moment] = mapped_column(default=time.time)  # only ever grows
    is_revoked: Mapped[bool] = mapped_column(default=False)  # every session in it has ended


class Session(Base):
    """A login, or a client's own session, and the tokens that came of it.

    A refresh token is two secrets: the first names the family for as long as it lives, the second is new with
    each refresh. Both are kept as hashes, so that a spent token of the family is told from a guess.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("status_list_id", "status_index"),
        # Finds the sessions revoked since the list was last made.
        Index(
            "ix_sessions_revoked",
            "status_list_id",
            "revocation_mark",
            "status_index",
            sqlite_where=text("revoked_at IS NOT NULL"),
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
        # Finds the sessions of a user that are live, and those whose bits are still to be set.
        Index(
            "ix_sessions_unrevoked",
            "user_id",
            "generation",
            "created_at",
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
        # The same for a registered client.
        Index(
            "ix_sessions_client",
            "client_id",
            "user_id",
            "generation",
            "created_at",
            sqlite_where=text("revoked_at IS NULL AND client_id != 'first-party'"),
            postgresql_where=text("revoked_at IS NULL AND client_id != 'first-party'"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))  # None: the client itself
    client_id: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(1024))
    resources: Mapped[list[str]] = mapped_column(JSON)
    generation: Mapped[int] = mapped_column(default=0)  # of the user's sessions when it began
    family_hash: Mapped[str] = mapped_column(String(64), unique=True)
    refresh_token_hash: Mapped[Digest]
    # What it takes to derive the refresh token once more from the one before it, for a client that retries.
    rotation_nonce: Mapped[str | None] = mapped_column(String(64))
    rotated_at: Mapped[Moment | None]
    created_at: Mapped[Seconds]
    expires_at: Mapped[Seconds] = mapped_column(index=True)
    revoked_at: Mapped[Seconds | None]
    revocation_mark: Mapped[Moment | None]  # the `changed_at` of the list that came of the revocation
    status_list_id: Mapped[int] = mapped_column(ForeignKey("status_lists.id"))
    status_index: Mapped[int]

    user: Mapped[User | None] = relationship(lazy="joined")


class RevocationJob(Base):
    """Sessions that have ended already and whose status bits are still to be set, in batches."""

    __tablename__ = "revocation_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    client_id: Mapped[str | None] = mapped_column(String(64))


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
    """An address from which a user has logged in lately, so that others' failures do not count there."""

    __tablename__ = "known_addresses"
    __table_args__ = (Index("ix_known_addresses_address", "address", "last_login_at"),)

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_login_at: Mapped[Seconds] = mapped_column(index=True)
