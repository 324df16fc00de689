"""Tables of sessions: of logins, of browsers, and the lists that tell which of them have ended."""

import time
import uuid

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auth_app.database import Base
from auth_app.models.columns import Digest, Moment, Seconds
from auth_app.models.users import User


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
        # The same for a browser in which somebody has signed in.
        Index(
            "ix_sessions_browser",
            "browser_session_id",
            sqlite_where=text("revoked_at IS NULL AND browser_session_id IS NOT NULL"),
            postgresql_where=text("revoked_at IS NULL AND browser_session_id IS NOT NULL"),
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
    # Of a sign-in in the browser: where it came from, and when the user proved who they are. The browser
    # session may be gone: it ends earlier than what came of it, when nobody uses the browser any more.
    browser_session_id: Mapped[uuid.UUID | None]
    auth_time: Mapped[Seconds | None]
    address: Mapped[str | None] = mapped_column(String(64))  # of the login, shortened, for its owner to see

    user: Mapped[User | None] = relationship(lazy="joined")


class BrowserSession(Base):
    """A browser in which a user has signed in, until they sign out or it expires; its cookie is a secret.

    It gives applications their logins without another sign-in, and is not one itself: a login is a `Session`.
    """

    __tablename__ = "browser_sessions"
    __table_args__ = (Index("ix_browser_sessions_user", "user_id", "created_at"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    token_hash: Mapped[Digest] = mapped_column(unique=True)
    generation: Mapped[int]  # of the user's sessions when it began
    created_at: Mapped[Seconds]
    authenticated_at: Mapped[Seconds]  # `auth_time`: the last time that the password was verified
    last_used_at: Mapped[Seconds]
    expires_at: Mapped[Seconds] = mapped_column(index=True)
    address: Mapped[str] = mapped_column(String(64))  # shortened, for its owner to see

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
    session_id: Mapped[uuid.UUID | None]  # what came of it, once it has been used


class RevocationJob(Base):
    """Sessions that have ended already and whose status bits are still to be set, in batches."""

    __tablename__ = "revocation_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID | None]
    client_id: Mapped[str | None] = mapped_column(String(64))
