"""The progress of the loop that rereads customers after a completed import is stored."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its one row, which marks the latest completed import as done.

    So customers are not reread now, but after the next import that completes.
    """
    op.create_table(
        "customer_rereads",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=True),
        sa.Column("last_id", sa.BigInteger(), nullable=True),
        sa.Column("rule_version", sa.Integer(), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_rereads_pkey")),
        schema="customers",
    )
    op.execute("""
        INSERT INTO customers.customer_rereads (import_id)
        SELECT (SELECT id FROM customers.imports WHERE status = 'completed' ORDER BY requested_at DESC LIMIT 1)
    """)


def downgrade() -> None:
    op.drop_table("customer_rereads", schema="customers")
