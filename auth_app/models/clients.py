"""Tables of clients, and of what they have sent and have to be told."""

import uuid
from typing import Any

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from auth_app.database import Base
from auth_app.models.columns import Digest, Moment, Seconds

# The `client_id` of a request that names no client: the one that `demo-data` registers, without a secret.
FIRST_PARTY = "first-party"


class Client(Base):
    """An application or a service that may ask for tokens (RFC 6749 section 2).

    Columns are named as client metadata is in RFC 7591 section 2. The row of a removed client stays, so that
    its ID, the `sub` of its tokens, is never given to another.
    """

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(128))  # what people are told; the ID, unless set
    # "client_secret", sent in either way; "private_key_jwt"; or "none" for a public client.
    auth_method: Mapped[str] = mapped_column(String(32), default="client_secret")
    grant_types: Mapped[list[str]] = mapped_column(JSON)
    redirect_uris: Mapped[list[str]] = mapped_column(JSON, default=list)
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(JSON, default=list)
    backchannel_logout_uri: Mapped[str | None] = mapped_column(String(512))
    # A refresh token with each sign-in, and not only with those that asked for `offline_access`.
    always_refresh: Mapped[bool] = mapped_column(default=False)
    # The public keys of "private_key_jwt": a JWK Set, or where to fetch it.
    jwks: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    jwks_uri: Mapped[str | None] = mapped_column(String(512))
    secret_hash: Mapped[Digest | None]
    # The secret before the last `set-secret`, for as long as both are accepted.
    previous_secret_hash: Mapped[Digest | None]
    previous_secret_expires_at: Mapped[Seconds | None]
    # What its tokens may be for: scopes, and resource servers. None: all that there are.
    scopes: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    resources: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    removed_at: Mapped[Seconds | None]
    # The session that the client's own tokens belong to; another one takes its place when it has ended.
    session_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="SET NULL", use_alter=True), index=True
    )


class ClientAssertion(Base):
    """A `private_key_jwt` that was used, and cannot be used again (RFC 7523 section 3)."""

    __tablename__ = "client_assertions"

    jti_hash: Mapped[Digest] = mapped_column(primary_key=True)  # of the client's ID and `jti`
    expires_at: Mapped[Seconds] = mapped_column(index=True)


class LogoutNotice(Base):
    """A session whose end its client has still to be told (OpenID Connect Back-Channel Logout 1.0)."""

    __tablename__ = "logout_notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[uuid.UUID]
    user_id: Mapped[uuid.UUID]
    client_id: Mapped[str] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[Moment] = mapped_column(index=True)
