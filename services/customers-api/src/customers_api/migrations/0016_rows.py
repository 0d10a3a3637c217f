"""Imports of kind `rows` read single rows, run beside other imports, and store what became of each row."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_BEFORE = "'waiting', 'requested', 'planning', 'running', 'completed', 'failed', 'cancelled'"


def upgrade() -> None:
    """The table `imports` is small: checking its rows takes an instant. A process of the previous release neither
    sweeps nor applies an import with the new status.
    """
    _allow(f"'reading', {_BEFORE}")
    op.create_table(
        "import_rows",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=True),
        sa.Column("legacy_id", sa.BigInteger(), nullable=True),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("import_rows_pkey")),
        _of_import("import_rows"),
        schema="customers",
    )
    op.execute("CREATE INDEX import_rows_import_id_chunk_idx ON customers.import_rows (import_id, chunk)")
    op.create_table(
        "import_outcomes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Uuid(), nullable=False),
        sa.Column("legacy_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("fields", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("import_outcomes_pkey")),
        _of_import("import_outcomes"),
        schema="customers",
    )
    op.execute(
        "CREATE INDEX import_outcomes_import_id_legacy_id_idx ON customers.import_outcomes (import_id, legacy_id, id)"
    )


def downgrade() -> None:
    for table in ("import_outcomes", "import_rows"):
        op.drop_table(table, schema="customers")
    op.execute("DELETE FROM customers.imports WHERE status = 'reading'")
    _allow(_BEFORE)


def _of_import(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["import_id"], ["customers.imports.id"], name=op.f(f"{table}_import_id_fkey"), ondelete="CASCADE"
    )


def _allow(statuses: str) -> None:
    op.execute(
        "ALTER TABLE customers.imports DROP CONSTRAINT imports_status_check, "
        f"ADD CONSTRAINT imports_status_check CHECK (status IN ({statuses}))"
    )
