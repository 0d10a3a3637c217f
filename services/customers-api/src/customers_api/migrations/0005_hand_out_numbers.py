"""Tasks have dispatch numbers, and imports have warnings.

The ids of the legacy rows that an import has read are stored until the import ends.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("imports", "warnings", "text[] NOT NULL DEFAULT '{}'"),
    ("imports", "plan_number", "bigint"),
    ("imports", "source_ahead_seconds", "double precision"),
    ("import_chunks", "number", "bigint"),
    ("legacy_customers", "number", "bigint"),
)


def upgrade() -> None:
    """Add a sequence, columns and a table. No row is rewritten, so each lock is held for an instant."""
    op.execute("CREATE SEQUENCE customers.hand_out_numbers")
    for table, column, kind in _COLUMNS:
        op.execute(f"ALTER TABLE customers.{table} ADD COLUMN {column} {kind}")
    op.create_table(
        "import_readings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Uuid(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("legacy_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["customers.imports.id"], name=op.f("import_readings_import_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("import_readings_pkey")),
        schema="customers",
    )
    op.create_index(
        "import_readings_import_id_chunk_idx", "import_readings", ["import_id", "chunk"], schema="customers"
    )


def downgrade() -> None:
    op.drop_table("import_readings", schema="customers")
    for table, column, _ in _COLUMNS:
        op.drop_column(table, column, schema="customers")
    op.execute("DROP SEQUENCE customers.hand_out_numbers")
