"""Add session generations, the refresh grace period, soft deletion, and throttling by address."""

import re
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 1000


def upgrade() -> None:
    _change_users()
    _change_status_lists()
    _change_sessions()
    _change_clients()
    op.create_table(
        "revocation_jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("client_id", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_revocation_jobs"),
    )
    op.drop_table("login_failures")  # the throttle forgets failures after an hour anyway
    op.create_table(
        "login_failures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("failed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_failures"),
    )
    op.create_index("ix_login_failures_pair", "login_failures", ["account", "address", "failed_at"])
    op.create_index("ix_login_failures_account", "login_failures", ["account", "failed_at"])
    op.create_index("ix_login_failures_address", "login_failures", ["address", "failed_at"])
    op.create_index("ix_login_failures_failed_at", "login_failures", ["failed_at"])
    op.create_table(
        "known_addresses",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "address", name="pk_known_addresses"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_known_addresses_user_id"),
    )
    op.create_index("ix_known_addresses_address", "known_addresses", ["address", "last_login_at"])
    op.create_index("ix_known_addresses_last_login_at", "known_addresses", ["last_login_at"])


def _change_users() -> None:
    with op.batch_alter_table("users") as batch:
        batch.add_column(sa.Column("password_parameters", sa.String(64), nullable=False, server_default=""))
        batch.add_column(
            sa.Column("must_change_password", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch.add_column(sa.Column("deleted_at", sa.BigInteger()))
        batch.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        batch.add_column(sa.Column("session_generation", sa.Integer(), nullable=False, server_default="0"))
    _fill_password_parameters()
    op.create_index("ix_users_password_parameters", "users", ["password_parameters"])
    present = sa.text("deleted_at IS NULL")
    op.create_index("ix_users_present", "users", ["username"], sqlite_where=present, postgresql_where=present)
    with op.batch_alter_table("users") as batch:
        for name in ("password_parameters", "must_change_password", "version", "session_generation"):
            batch.alter_column(name, server_default=None)


def _fill_password_parameters() -> None:
    users = sa.table(
        "users", sa.column("id", sa.Uuid()), sa.column("password_hash"), sa.column("password_parameters")
    )
    connection = op.get_bind()
    last = uuid.UUID(int=0)
    while rows := connection.execute(
        sa.select(users.c.id, users.c.password_hash)
        .where(users.c.id > last)
        .order_by(users.c.id)
        .limit(_BATCH)
    ).all():
        connection.execute(
            sa.update(users)
            .where(users.c.id == sa.bindparam("user"))
            .values(password_parameters=sa.bindparam("parameters")),
            [{"user": user, "parameters": _parameters_of(password_hash)} for user, password_hash in rows],
        )
        last = rows[-1].id


def _parameters_of(password_hash: str) -> str:
    """Return the part of a hash before its salt and digest."""
    return re.sub(r"\$[^$]*\$[^$]*$", "", password_hash)[:64]


def _change_status_lists() -> None:
    with op.batch_alter_table("status_lists") as batch:
        batch.drop_column("version")
    with op.batch_alter_table("status_lists") as batch:
        batch.add_column(sa.Column("version", sa.String(32), nullable=False, server_default="0"))
        batch.add_column(sa.Column("changed_at", sa.Double(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("is_revoked", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("status_lists") as batch:
        for name in ("version", "changed_at", "is_revoked"):
            batch.alter_column(name, server_default=None)


def _change_sessions() -> None:
    op.drop_index("ix_sessions_revoked", "sessions")
    op.drop_index("ix_sessions_user_id", "sessions")
    with op.batch_alter_table("sessions") as batch:
        batch.alter_column("user_id", existing_type=sa.Uuid(), nullable=True)
        batch.add_column(sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("rotation_nonce", sa.String(64)))
        batch.add_column(sa.Column("rotated_at", sa.Double()))
        batch.add_column(sa.Column("revocation_mark", sa.Double()))
    with op.batch_alter_table("sessions") as batch:
        batch.alter_column("generation", server_default=None)
    op.execute("UPDATE sessions SET revocation_mark = 0 WHERE revoked_at IS NOT NULL")
    order = ["user_id", "generation", "created_at"]
    for name, columns, where in (
        ("revoked", ["status_list_id", "revocation_mark", "status_index"], "revoked_at IS NOT NULL"),
        ("unrevoked", order, "revoked_at IS NULL"),
        ("client", ["client_id", *order], "revoked_at IS NULL AND client_id != 'first-party'"),
    ):
        condition = sa.text(where)
        op.create_index(
            f"ix_sessions_{name}", "sessions", columns, sqlite_where=condition, postgresql_where=condition
        )


def _change_clients() -> None:
    with op.batch_alter_table("clients") as batch:
        batch.add_column(sa.Column("previous_secret_hash", sa.String(64)))
        batch.add_column(sa.Column("previous_secret_expires_at", sa.BigInteger()))
        batch.add_column(sa.Column("removed_at", sa.BigInteger()))
        batch.add_column(sa.Column("session_id", sa.Uuid()))
        batch.create_foreign_key(
            "fk_clients_session_id", "sessions", ["session_id"], ["id"], ondelete="SET NULL"
        )
    op.create_index("ix_clients_session_id", "clients", ["session_id"])


def downgrade() -> None:
    op.drop_table("known_addresses")
    op.drop_table("login_failures")
    op.create_table(
        "login_failures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("failed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_failures"),
    )
    op.create_index("ix_login_failures_key", "login_failures", ["key"])
    op.create_index("ix_login_failures_failed_at", "login_failures", ["failed_at"])
    op.drop_table("revocation_jobs")
    _restore_clients()
    _restore_sessions()
    with op.batch_alter_table("status_lists") as batch:
        for name in ("version", "changed_at", "is_revoked"):
            batch.drop_column(name)
    with op.batch_alter_table("status_lists") as batch:
        batch.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("status_lists") as batch:
        batch.alter_column("version", server_default=None)
    op.drop_index("ix_users_password_parameters", "users")
    op.drop_index("ix_users_present", "users")
    with op.batch_alter_table("users") as batch:
        for name in (
            "password_parameters",
            "must_change_password",
            "deleted_at",
            "version",
            "session_generation",
        ):
            batch.drop_column(name)


def _restore_clients() -> None:
    op.execute("DELETE FROM clients WHERE removed_at IS NOT NULL")
    op.drop_index("ix_clients_session_id", "clients")
    with op.batch_alter_table("clients") as batch:
        batch.drop_constraint("fk_clients_session_id", type_="foreignkey")
        for name in ("previous_secret_hash", "previous_secret_expires_at", "removed_at", "session_id"):
            batch.drop_column(name)


def _restore_sessions() -> None:
    for name in ("revoked", "unrevoked", "client"):
        op.drop_index(f"ix_sessions_{name}", "sessions")
    # Delete sessions that ended in a way that the older version does not check, and those of clients.
    op.execute(
        "DELETE FROM sessions WHERE user_id IS NULL OR generation < "
        "(SELECT session_generation FROM users WHERE users.id = sessions.user_id) OR status_list_id IN "
        "(SELECT id FROM status_lists WHERE is_revoked)"
    )
    with op.batch_alter_table("sessions") as batch:
        batch.alter_column("user_id", existing_type=sa.Uuid(), nullable=False)
        for name in ("generation", "rotation_nonce", "rotated_at", "revocation_mark"):
            batch.drop_column(name)
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    condition = sa.text("revoked_at IS NOT NULL")
    op.create_index(
        "ix_sessions_revoked",
        "sessions",
        ["status_list_id", "status_index"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
