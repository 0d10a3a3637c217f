"""The mirror loses its foreign keys: they were most of the cost of writing a row. The sweeper counts orphans now.

If a long transaction, such as a backup, uses one of the tables, this migration fails after about 20 seconds. Then run
`migrate` again later.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEYS = {"customer_id": "customers", "phone_id": "phones"}


def upgrade() -> None:
    op.execute(_DROP)


# Each try waits for a moment only. Whoever needs one of the three tables waits behind a waiting ALTER TABLE, so that a
# backup or a long query would otherwise stop all requests. A try also ends before the server looks for deadlocks.
_DROP = """
DO $$
BEGIN
    SET LOCAL lock_timeout = '500ms';
    FOR attempt IN 1..20 LOOP
        BEGIN
            ALTER TABLE customers.legacy_customers
                DROP CONSTRAINT legacy_customers_customer_id_fkey, DROP CONSTRAINT legacy_customers_phone_id_fkey;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.5);
        END;
    END LOOP;
    RAISE lock_not_available
        USING MESSAGE = 'a long transaction, such as a backup, uses customers, phones or legacy_customers';
END $$
"""


def downgrade() -> None:
    for column, table in _KEYS.items():
        op.create_foreign_key(
            f"legacy_customers_{column}_fkey",
            "legacy_customers",
            table,
            [column],
            ["id"],
            source_schema="customers",
            referent_schema="customers",
        )
