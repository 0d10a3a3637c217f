"""A mirror row can be marked as gone from vAptekeSync, and a customer as deleted for that reason.

If a long transaction, such as a backup, uses one of the tables, this migration fails after about 20 seconds. Then run
`migrate` again later.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns without rewriting a row, and two indexes that no row is in yet.

    Each index takes one scan of the mirror. The tables stay locked until the migration ends, so all requests wait.
    """
    op.execute(_ALTER)
    op.execute(
        "CREATE INDEX legacy_customers_gone_in_idx ON customers.legacy_customers (gone_in, legacy_id) "
        "WHERE gone_in IS NOT NULL"
    )
    op.execute(
        "CREATE INDEX legacy_customers_to_delete_idx ON customers.legacy_customers (legacy_id) "
        "WHERE gone_as = 'approved'"
    )


# Each try waits for a moment only: whoever needs one of the tables waits behind a waiting ALTER TABLE.
_ALTER = """
DO $$
BEGIN
    SET LOCAL lock_timeout = '500ms';
    FOR attempt IN 1..20 LOOP
        BEGIN
            ALTER TABLE customers.imports ADD COLUMN gone bigint NOT NULL DEFAULT 0;
            ALTER TABLE customers.customers ADD COLUMN deleted_by text;
            ALTER TABLE customers.legacy_customers
                ADD COLUMN joined boolean, ADD COLUMN gone_at timestamptz, ADD COLUMN gone_in uuid,
                ADD COLUMN gone_as text;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
    RAISE lock_not_available
        USING MESSAGE = 'a long transaction, such as a backup, uses imports, customers or legacy_customers';
END $$
"""


def downgrade() -> None:
    op.drop_column("imports", "gone", schema="customers")
    op.drop_column("customers", "deleted_by", schema="customers")
    for column in ("joined", "gone_at", "gone_in", "gone_as"):
        op.drop_column("legacy_customers", column, schema="customers")
