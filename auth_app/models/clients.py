"""Tables of clients, used client assertions, and pending logout notices."""

import uuid
from typing import Any

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from auth_app.database import Base
from auth_app.models.columns import Digest, Moment, Seconds

# The client of a request without a `client_id`. `demo-data` registers it, without a secret.
FIRST_PARTY = "first-party"


class Client(Base):
    """An application or service that may request tokens (RFC 6749 section 2).

    Columns are named like the client metadata of RFC 7591 section 2. The row of a removed client stays, so
    that its ID, which is the `sub` of its own tokens, is never reused.
    """

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str | None] = mapped_column(String(128))  # shown to users; defaults to the ID
    # "client_secret" (basic or post), "private_key_jwt", or "none" for a public client.
    auth_method: Mapped[str] = mapped_column(String(32), default="client_secret")
    grant_types: Mapped[list[str]] = mapped_column(JSON)
    redirect_uris: Mapped[list[str]] = mapped_column(JSON, default=list)
    post_logout_redirect_uris: Mapped[list[str]] = mapped_column(JSON, default=list)
    backchannel_logout_uri: Mapped[str | None] = mapped_column(String(512))
    # Whether every sign-in gets a refresh token, even without the scope `offline_access`.
    always_refresh: Mapped[bool] = mapped_column(default=False)
    # The public keys for "private_key_jwt": a JWK Set, or the URL of one.
    jwks: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    jwks_uri: Mapped[str | None] = mapped_column(String(512))
    secret_hash: Mapped[Digest | None]
    # The secret before the last `set-secret`, which is accepted until it expires.
    previous_secret_hash: Mapped[Digest | None]
    previous_secret_expires_at: Mapped[Seconds | None]
    # The scopes and resource servers that its tokens may be for. None: all of them.
    scopes: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    resources: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    removed_at: Mapped[Seconds | None]
    # The session that the client's own tokens belong to. It is replaced when it has ended.
    session_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="SET NULL", use_alter=True), index=True
    )


class ClientAssertion(Base):
    """A `private_key_jwt` assertion that was used, and is refused a second time (RFC 7523 section 3)."""

    __tablename__ = "client_assertions"

    jti_hash: Mapped[Digest] = mapped_column(primary_key=True)  # of the client's ID and the `jti`
    expires_at: Mapped[Seconds] = mapped_column(index=True)


class LogoutNotice(Base):
    """A logout notice that is still to be sent to a client (OpenID Connect Back-Channel Logout 1.0)."""

    __tablename__ = "logout_notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[uuid.UUID]
    user_id: Mapped[uuid.UUID]
    client_id: Mapped[str] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[Moment] = mapped_column(index=True)
