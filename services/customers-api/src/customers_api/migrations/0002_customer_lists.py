"""Lists of customers: counts that triggers keep, the function `folded` to ignore case, an index for every filter."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_counters()
    op.execute(_folded(op.get_bind()))
    for name, columns in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON customers.{columns}")


def _make_counters() -> None:
    op.create_table(
        "customer_counts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("living", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_counts_pkey")),
        schema="customers",
    )
    for statement in (*_FUNCTIONS, *_TRIGGERS, _COUNTED_SO_FAR):
        op.execute(statement)


def _folded(connection: sa.Connection) -> str:
    """SQL that creates the function `folded`, which makes a text lower case.

    It uses the first of these rules that the server has: Postgres' own (17 and later), ICU's, the C library's, the
    database's.
    """
    there = set(connection.scalars(sa.text("SELECT collname FROM pg_collation WHERE collencoding IN (-1, 6)")))
    rules = [f' COLLATE "{name}"' for name in ("pg_c_utf8", "und-x-icu", "C.utf8") if name in there]
    return f"""
        CREATE FUNCTION customers.folded(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN lower($1{[*rules, ""][0]})
    """


def downgrade() -> None:
    for name in _INDEXES:
        op.execute(f"DROP INDEX customers.{name}")
    op.execute("DROP FUNCTION customers.folded")
    for name in ("new", "gone", "deleted", "truncated"):
        op.execute(f"DROP TRIGGER customers_counted_{name} ON customers.customers")
        op.execute(f"DROP FUNCTION customers.count_{name}")
    op.drop_table("customer_counts", schema="customers")


# text_pattern_ops: in the order of the code points, whatever the database's locale, so that a prefix is a range.
_INDEXES = {
    "firstnames_folded_idx": "firstnames (customers.folded(name) text_pattern_ops) INCLUDE (name, id)",
    "customers_email_idx": "customers (customers.folded(email) text_pattern_ops)",
    "customers_lastname_idx": "customers (customers.folded(lastname) text_pattern_ops)",
    "customers_firstname_id_idx": "customers (firstname_id, deleted_at)",
    "customers_city_id_idx": "customers (city_id, deleted_at)",
    "customers_birthday_idx": "customers (birthday, gender, deleted_at)",
    "customers_deleted_phone_id_idx": "customers (phone_id) WHERE deleted_at IS NOT NULL",
    "customers_updated_at_idx": "customers USING brin (updated_at) WITH (pages_per_range = 1)",
}

# Appended, never updated in place: writers of customers would wait for each other. The TRUNCATE's change is the
# difference to nothing, so that it meets no lock of the sweeper, which folds the rows now and then.
_FUNCTIONS = [
    """
    CREATE FUNCTION customers.count_new() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO customers.customer_counts (living, deleted)
        SELECT count(*) - count(deleted_at), count(deleted_at) FROM new_rows HAVING count(*) > 0;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION customers.count_gone() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO customers.customer_counts (living, deleted)
        SELECT count(deleted_at) - count(*), -count(deleted_at) FROM old_rows HAVING count(*) > 0;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION customers.count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO customers.customer_counts (living, deleted)
        VALUES (num_nulls(NEW.deleted_at) - num_nulls(OLD.deleted_at),
            num_nulls(OLD.deleted_at) - num_nulls(NEW.deleted_at));
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION customers.count_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO customers.customer_counts (living, deleted)
        SELECT -sum(living), -sum(deleted) FROM customers.customer_counts HAVING count(*) > 0;
        RETURN NULL;
    END $$
    """,
]

_TRIGGERS = [
    """
    CREATE TRIGGER customers_counted_new AFTER INSERT ON customers.customers
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION customers.count_new()
    """,
    """
    CREATE TRIGGER customers_counted_gone AFTER DELETE ON customers.customers
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION customers.count_gone()
    """,
    """
    CREATE TRIGGER customers_counted_deleted AFTER UPDATE OF deleted_at ON customers.customers FOR EACH ROW
    WHEN ((OLD.deleted_at IS NULL) IS DISTINCT FROM (NEW.deleted_at IS NULL))
    EXECUTE FUNCTION customers.count_deleted()
    """,
    """
    CREATE TRIGGER customers_counted_truncated AFTER TRUNCATE ON customers.customers
    FOR EACH STATEMENT EXECUTE FUNCTION customers.count_truncated()
    """,
]

_COUNTED_SO_FAR = """
INSERT INTO customers.customer_counts (living, deleted)
SELECT count(*) - count(deleted_at), count(deleted_at) FROM customers.customers HAVING count(*) > 0
"""
