"""An import shows what it waits for: failed attempts that will be retried, and when a range was sent or published."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("imports", "attempt_failed", "jsonb"),
    ("import_chunks", "attempt_failed", "jsonb"),
    ("import_chunks", "moved_at", "timestamptz"),
)


def upgrade() -> None:
    """Add columns without rewriting a row: each lock is held for an instant."""
    for table, column, kind in _COLUMNS:
        op.execute(f"ALTER TABLE customers.{table} ADD COLUMN {column} {kind}")


def downgrade() -> None:
    for table, column, _ in _COLUMNS:
        op.drop_column(table, column, schema="customers")
