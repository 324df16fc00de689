"""Tables of sessions, browser sessions, authorization codes, status lists and revocation jobs."""

import time
import uuid

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auth_app.database import Base
from auth_app.models.columns import Digest, Moment, Seconds
from auth_app.models.users import User


class StatusList(Base):
    """A Token Status List, in which each session has an index."""

    __tablename__ = "status_lists"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    closes_at: Mapped[Seconds]  # no index is reserved from then on
    # A unique ID, not a counter: a counter could repeat a number after a failover that lost recent changes.
    version: Mapped[str] = mapped_column(String(32), default=lambda: uuid.uuid4().hex)
    changed_at: Mapped[Moment] = mapped_column(default=time.time)  # strictly increasing
    is_revoked: Mapped[bool] = mapped_column(default=False)  # True: every session in it has ended


class Session(Base):
    """A login of a user, or a client's own session, with all tokens issued for it.

    A refresh token consists of two secrets: the first identifies the family, which is the session, and the
    second changes with each refresh. Both are stored as hashes, to distinguish a spent token from a guess.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("status_list_id", "status_index"),
        # Finds the sessions revoked since the list was last signed.
        Index(
            "ix_sessions_revoked",
            "status_list_id",
            "revocation_mark",
            "status_index",
            sqlite_where=text("revoked_at IS NOT NULL"),
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
        # Finds the live sessions of a user, and the ended ones whose status bits are pending.
        Index(
            "ix_sessions_unrevoked",
            "user_id",
            "generation",
            "created_at",
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
        # The same for a client.
        Index(
            "ix_sessions_client",
            "client_id",
            "user_id",
            "generation",
            "created_at",
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
        # The same for a browser session.
        Index(
            "ix_sessions_browser",
            "browser_session_id",
            sqlite_where=text("revoked_at IS NULL AND browser_session_id IS NOT NULL"),
            postgresql_where=text("revoked_at IS NULL AND browser_session_id IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))  # None: a client's own session
    client_id: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(1024))
    resources: Mapped[list[str]] = mapped_column(JSON)
    generation: Mapped[int] = mapped_column(default=0)  # `User.session_generation` when it started
    family_hash: Mapped[str] = mapped_column(String(64), unique=True)
    refresh_token_hash: Mapped[Digest]
    # Derives the current refresh token again from the spent one, for a client that retries.
    rotation_nonce: Mapped[str | None] = mapped_column(String(64))
    rotated_at: Mapped[Moment | None]
    created_at: Mapped[Seconds]
    expires_at: Mapped[Seconds] = mapped_column(index=True)
    revoked_at: Mapped[Seconds | None]
    revocation_mark: Mapped[Moment | None]  # the list's `changed_at` that the revocation has set
    status_list_id: Mapped[int] = mapped_column(ForeignKey("status_lists.id"))
    status_index: Mapped[int]
    # Only of a login through /authorize: its browser session, and when the user entered the password. The
    # browser session may be gone, because an idle one expires before the logins that started from it.
    browser_session_id: Mapped[uuid.UUID | None]
    auth_time: Mapped[Seconds | None]
    address: Mapped[str | None] = mapped_column(String(64))  # where the login came from, for /account

    user: Mapped[User | None] = relationship(lazy="joined")


class BrowserSession(Base):
    """A browser in which a user has signed in, until they sign out or it expires. Its cookie is a secret.

    Applications start logins from it without another sign-in (single sign-on). Each login is a `Session`.
    """

    __tablename__ = "browser_sessions"
    __table_args__ = (Index("ix_browser_sessions_user", "user_id", "created_at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    token_hash: Mapped[Digest] = mapped_column(unique=True)
    generation: Mapped[int]  # `User.session_generation` when it started
    created_at: Mapped[Seconds]
    authenticated_at: Mapped[Seconds]  # `auth_time`: when the password was last verified
    last_used_at: Mapped[Seconds]
    expires_at: Mapped[Seconds] = mapped_column(index=True)
    address: Mapped[str] = mapped_column(String(64))  # shortened, for /account

    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class AuthorizationCode(Base):
    """A code that a client exchanges for tokens, once and within a minute (RFC 6749 section 4.1.2)."""

    __tablename__ = "authorization_codes"

    code_hash: Mapped[Digest] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(String(64))
    redirect_uri: Mapped[str] = mapped_column(String(2048))
    code_challenge: Mapped[str] = mapped_column(String(43))
    browser_session_id: Mapped[uuid.UUID]
    scope: Mapped[str] = mapped_column(String(1024))
    resources: Mapped[list[str]] = mapped_column(JSON)
    nonce: Mapped[str | None] = mapped_column(String(1024))
    auth_time: Mapped[Seconds]
    expires_at: Mapped[Seconds] = mapped_column(index=True)
    session_id: Mapped[uuid.UUID | None]  # the session that it started, once it has been used


class RevocationJob(Base):
    """A user or client whose ended sessions still need their status bits set, in batches."""

    __tablename__ = "revocation_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    client_id: Mapped[str | None] = mapped_column(String(64))
