"""Create status lists, and give each session an index in one."""

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SIZE = 2**20


def upgrade() -> None:
    op.create_table(
        "status_lists",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("closes_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_status_lists"),
    )
    op.add_column("sessions", sa.Column("status_list_id", sa.Integer()))
    op.add_column("sessions", sa.Column("status_index", sa.Integer()))
    _assign_indexes()
    with op.batch_alter_table("sessions") as batch:
        batch.alter_column("status_list_id", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("status_index", existing_type=sa.Integer(), nullable=False)
        batch.create_foreign_key("fk_sessions_status_list_id", "status_lists", ["status_list_id"], ["id"])
        batch.create_unique_constraint("uq_sessions_status_list_id", ["status_list_id", "status_index"])
    op.create_index(
        "ix_sessions_revoked",
        "sessions",
        ["status_list_id", "status_index"],
        sqlite_where=sa.text("revoked_at IS NOT NULL"),
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )


def _assign_indexes() -> None:
    """Put the existing sessions into a list that is closed for new ones."""
    connection = op.get_bind()
    sessions = connection.scalars(sa.text("SELECT id FROM sessions")).all()
    if not sessions:
        return
    size = max(_SIZE, 2 * len(sessions))
    connection.execute(
        sa.text("INSERT INTO status_lists (size, closes_at, version) VALUES (:size, :now, 0)"),
        {"size": size, "now": int(time.time())},
    )
    indexes = secrets.SystemRandom().sample(range(size), len(sessions))
    connection.execute(
        sa.text(
            "UPDATE sessions SET status_list_id = (SELECT max(id) FROM status_lists), status_index = :index "
            "WHERE id = :id"
        ),
        [{"id": session, "index": index} for session, index in zip(sessions, indexes, strict=True)],
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_revoked", "sessions")
    with op.batch_alter_table("sessions") as batch:
        batch.drop_constraint("uq_sessions_status_list_id", type_="unique")
        batch.drop_constraint("fk_sessions_status_list_id", type_="foreignkey")
        batch.drop_column("status_index")
        batch.drop_column("status_list_id")
    op.drop_table("status_lists")
