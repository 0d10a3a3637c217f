"""Imports have a kind and remember who requested them, and the schedule of imports keeps its state."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("kind", "text NOT NULL DEFAULT 'full'"),
    ("requested_by", "text"),
    ("unread", "bigint NOT NULL DEFAULT 0"),
)


def upgrade() -> None:
    """Add columns without rewriting a row, and a table of one row. Processes of the previous release start full
    imports, without a name of who requested them.
    """
    for column, kind in _COLUMNS:
        op.execute(f"ALTER TABLE customers.imports ADD COLUMN {column} {kind}")
    op.create_table(
        "import_schedule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("import_id", sa.Uuid(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("import_schedule_pkey")),
        schema="customers",
    )
    op.execute("INSERT INTO customers.import_schedule DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table("import_schedule", schema="customers")
    for column, _ in _COLUMNS:
        op.drop_column("imports", column, schema="customers")
