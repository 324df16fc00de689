"""Create enrolments, and give courses a capacity, an owner and a version."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("courses", sa.Column("capacity", sa.Integer(), nullable=True))
    op.add_column("courses", sa.Column("enrolled", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("courses", sa.Column("owner", sa.String(255), nullable=True))
    op.add_column("courses", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "enrolments",
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("course_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "course_id", name="pk_enrolments"),
        sa.ForeignKeyConstraint(
            ["course_id"], ["courses.id"], name="fk_enrolments_course_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_enrolments_course_id", "enrolments", ["course_id"])


def downgrade() -> None:
    op.drop_table("enrolments")
    for column in ("version", "owner", "enrolled", "capacity"):
        op.drop_column("courses", column)
