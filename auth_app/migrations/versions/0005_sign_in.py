"""Add sign-in in the browser: client metadata, browser sessions, codes, logout notices and user profiles."""

import time
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What a client of an earlier version could do.
_GRANT_TYPES = '["client_credentials", "password", "refresh_token"]'


def upgrade() -> None:
    with op.batch_alter_table("users") as batch:
        batch.add_column(sa.Column("name", sa.String(200)))
        batch.add_column(sa.Column("email", sa.String(254)))
        batch.add_column(sa.Column("email_verified", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("updated_at", sa.BigInteger()))
    with op.batch_alter_table("users") as batch:
        batch.alter_column("email_verified", server_default=None)
    _change_clients()
    _change_sessions()
    _create_tables()


def _change_clients() -> None:
    with op.batch_alter_table("clients") as batch:
        batch.add_column(sa.Column("name", sa.String(128)))
        batch.add_column(
            sa.Column("auth_method", sa.String(32), nullable=False, server_default="client_secret")
        )
        batch.add_column(sa.Column("grant_types", sa.JSON(), nullable=False, server_default=_GRANT_TYPES))
        for name in ("redirect_uris", "post_logout_redirect_uris"):
            batch.add_column(sa.Column(name, sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(sa.Column("backchannel_logout_uri", sa.String(512)))
        batch.add_column(sa.Column("always_refresh", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("jwks", sa.JSON()))
        batch.add_column(sa.Column("jwks_uri", sa.String(512)))
        batch.alter_column("secret_hash", existing_type=sa.String(64), nullable=True)
        batch.alter_column("scopes", existing_type=sa.JSON(), nullable=True)
        batch.alter_column("resources", existing_type=sa.JSON(), nullable=True)
    with op.batch_alter_table("clients") as batch:
        for name in (
            "auth_method",
            "grant_types",
            "redirect_uris",
            "post_logout_redirect_uris",
            "always_refresh",
        ):
            batch.alter_column(name, server_default=None)
    # Before this version users could always log in through `first-party`. Keep that if there are users.
    # `count(*) < 0` is false, in a form that both databases accept.
    op.execute(
        "INSERT INTO clients (id, auth_method, grant_types, redirect_uris, post_logout_redirect_uris, "
        "always_refresh) SELECT 'first-party', 'none', '[\"password\", \"refresh_token\"]', '[]', '[]', "
        "count(*) < 0 FROM users HAVING count(*) > 0"
    )


def _change_sessions() -> None:
    op.drop_index("ix_sessions_client", "sessions")
    with op.batch_alter_table("sessions") as batch:
        batch.add_column(sa.Column("browser_session_id", sa.Uuid()))
        batch.add_column(sa.Column("auth_time", sa.BigInteger()))
        batch.add_column(sa.Column("address", sa.String(64)))
    for name, columns, where in (
        ("client", ["client_id", "user_id", "generation", "created_at"], "revoked_at IS NULL"),
        ("browser", ["browser_session_id"], "revoked_at IS NULL AND browser_session_id IS NOT NULL"),
    ):
        condition = sa.text(where)
        op.create_index(
            f"ix_sessions_{name}", "sessions", columns, sqlite_where=condition, postgresql_where=condition
        )


def _create_tables() -> None:
    op.create_table(
        "browser_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_browser_sessions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_browser_sessions_user_id"),
        sa.UniqueConstraint("token_hash", name="uq_browser_sessions_token_hash"),
    )
    op.create_index("ix_browser_sessions_user", "browser_sessions", ["user_id", "created_at"])
    op.create_index("ix_browser_sessions_expires_at", "browser_sessions", ["expires_at"])
    op.create_table(
        "authorization_codes",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("redirect_uri", sa.String(2048), nullable=False),
        sa.Column("code_challenge", sa.String(43), nullable=False),
        sa.Column("browser_session_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(1024), nullable=False),
        sa.Column("resources", sa.JSON(), nullable=False),
        sa.Column("nonce", sa.String(1024)),
        sa.Column("auth_time", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("code_hash", name="pk_authorization_codes"),
    )
    op.create_index("ix_authorization_codes_expires_at", "authorization_codes", ["expires_at"])
    op.create_table(
        "client_assertions",
        sa.Column("jti_hash", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jti_hash", name="pk_client_assertions"),
    )
    op.create_index("ix_client_assertions_expires_at", "client_assertions", ["expires_at"])
    op.create_table(
        "logout_notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_logout_notices"),
    )
    op.create_index("ix_logout_notices_due_at", "logout_notices", ["due_at"])


def downgrade() -> None:
    for table in ("logout_notices", "client_assertions", "authorization_codes", "browser_sessions"):
        op.drop_table(table)
    _forget_clients()
    _end_unknown_sessions()
    _restore_sessions()
    _restore_clients()
    with op.batch_alter_table("users") as batch:
        for name in ("name", "email", "email_verified", "updated_at"):
            batch.drop_column(name)


def _forget_clients() -> None:
    """Delete the clients that the older version cannot serve, or would give more permissions.

    It supports only clients with a secret, allows each of them client_credentials and password, and needs no
    row for `first-party`. The IDs of removed clients stay reserved.
    """
    op.execute(
        "DELETE FROM clients WHERE id = 'first-party' OR removed_at IS NULL AND (secret_hash IS NULL OR "
        "scopes IS NULL OR resources IS NULL OR (CAST(grant_types AS TEXT) NOT LIKE '%client_credentials%' "
        "AND CAST(grant_types AS TEXT) NOT LIKE '%password%'))"
    )
    for column, nothing in (("secret_hash", ""), ("scopes", "[]"), ("resources", "[]")):
        op.execute(f"UPDATE clients SET {column} = '{nothing}' WHERE {column} IS NULL")  # noqa: S608  # of constants


def _end_unknown_sessions() -> None:
    """Revoke the logins from a browser, and all sessions of the deleted clients.

    Keep the rows: without them the next status lists would not show these sessions as revoked.
    """
    connection = op.get_bind()
    connection.execute(
        sa.text(
            "UPDATE status_lists SET version = :version, "
            "changed_at = CASE WHEN changed_at < :now THEN :now ELSE changed_at + 0.001 END"
        ),
        {"version": uuid.uuid4().hex, "now": time.time()},
    )
    connection.execute(
        sa.text(
            "UPDATE sessions SET revoked_at = :now, revocation_mark = "
            "(SELECT changed_at FROM status_lists WHERE status_lists.id = sessions.status_list_id) "
            "WHERE revoked_at IS NULL AND (browser_session_id IS NOT NULL OR "
            "client_id != 'first-party' AND client_id NOT IN (SELECT id FROM clients))"
        ),
        {"now": int(time.time())},
    )


def _restore_sessions() -> None:
    for name in ("client", "browser"):
        op.drop_index(f"ix_sessions_{name}", "sessions")
    with op.batch_alter_table("sessions") as batch:
        for name in ("browser_session_id", "auth_time", "address"):
            batch.drop_column(name)
    condition = sa.text("revoked_at IS NULL AND client_id != 'first-party'")
    op.create_index(
        "ix_sessions_client",
        "sessions",
        ["client_id", "user_id", "generation", "created_at"],
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _restore_clients() -> None:
    with op.batch_alter_table("clients") as batch:
        for name in (
            "name",
            "auth_method",
            "grant_types",
            "redirect_uris",
            "post_logout_redirect_uris",
            "backchannel_logout_uri",
            "always_refresh",
            "jwks",
            "jwks_uri",
        ):
            batch.drop_column(name)
        batch.alter_column("secret_hash", existing_type=sa.String(64), nullable=False)
        batch.alter_column("scopes", existing_type=sa.JSON(), nullable=False)
        batch.alter_column("resources", existing_type=sa.JSON(), nullable=False)
