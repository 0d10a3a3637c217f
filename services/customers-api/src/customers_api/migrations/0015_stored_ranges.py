"""Key ranges are stored with their fingerprints, so that an import of changes need not read all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("imports", "basis", "jsonb"),
    ("imports", "full_because", "text"),
    ("imports", "last_bound", "bigint"),
    ("import_chunks", "fingerprint", "text"),
    ("import_chunks", "valid_until", "timestamptz"),
)


def upgrade() -> None:
    """Add nullable columns without rewriting a row, and an empty table. A process of the previous release plans
    imports without a basis: after one, `stored_ranges.find` returns None.
    """
    for table, column, kind in _COLUMNS:
        op.execute(f"ALTER TABLE customers.{table} ADD COLUMN {column} {kind}")
    op.create_table(
        "stored_ranges",
        sa.Column("upto_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("upto_id", name=op.f("stored_ranges_pkey")),
        schema="customers",
    )


def downgrade() -> None:
    op.drop_table("stored_ranges", schema="customers")
    for table, column, _ in _COLUMNS:
        op.drop_column(table, column, schema="customers")
