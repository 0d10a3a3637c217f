"""Imports of changes that found nothing are folded into one job. Jobs whose details were deleted are marked, and the
columns from which an import reads are stored.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("columns", "jsonb"),
    ("repeated", "bigint DEFAULT 0 NOT NULL"),
    ("repeated_at", "timestamptz"),
    ("only_scheduled", "boolean DEFAULT false NOT NULL"),
    ("has_details", "boolean DEFAULT true NOT NULL"),
)


def upgrade() -> None:
    """Add columns without rewriting a row. Imports that a process of the previous release requests are never folded.
    The table `imports` is small, so building the index takes an instant.
    """
    for column, kind in _COLUMNS:
        op.execute(f"ALTER TABLE customers.imports ADD COLUMN {column} {kind}")
    op.execute(
        "CREATE INDEX imports_with_details_idx ON customers.imports (kind, requested_at DESC, id) WHERE has_details"
    )


def downgrade() -> None:
    op.drop_index("imports_with_details_idx", table_name="imports", schema="customers")
    for column, _ in _COLUMNS:
        op.drop_column("imports", column, schema="customers")
