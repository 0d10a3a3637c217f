"""Imports of different kinds wait for each other, and an import of kind `compare` stores the differences it finds."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_BEFORE = "'requested', 'planning', 'running', 'completed', 'failed', 'cancelled'"


def upgrade() -> None:
    """Locks only `imports`, which is small, so checking its rows takes an instant."""
    _allow(f"'waiting', {_BEFORE}")
    op.execute("CREATE UNIQUE INDEX imports_waiting_key ON customers.imports (kind) WHERE status = 'waiting'")
    op.create_table(
        "import_differences",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Uuid(), nullable=True),
        sa.Column("legacy_id", sa.BigInteger(), nullable=True),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("difference", sa.Text(), nullable=False),
        sa.Column("fields", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("import_differences_pkey")),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["customers.imports.id"],
            name=op.f("import_differences_import_id_fkey"),
            ondelete="CASCADE",
        ),
        schema="customers",
    )
    op.execute(
        "CREATE INDEX import_differences_import_id_legacy_id_idx "
        "ON customers.import_differences (import_id, legacy_id, id)"
    )


def downgrade() -> None:
    op.drop_table("import_differences", schema="customers")
    op.execute("DROP INDEX customers.imports_waiting_key")
    op.execute("DELETE FROM customers.imports WHERE status = 'waiting'")
    _allow(_BEFORE)


def _allow(statuses: str) -> None:
    op.execute(
        "ALTER TABLE customers.imports DROP CONSTRAINT imports_status_check, "
        f"ADD CONSTRAINT imports_status_check CHECK (status IN ({statuses}))"
    )
