"""The first tables: favorites, deleted customers, stored offsets, and counts of favorites that triggers keep."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "favorites"


def upgrade() -> None:
    op.create_table(
        "consumed_offsets",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("consumed_offsets_pkey")),
        schema=SCHEMA,
    )
    op.create_table(
        "deleted_customers",
        sa.Column("customer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("deleted_customers_pkey")),
        schema=SCHEMA,
    )
    op.create_table(
        "favorites",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("date_trunc('milliseconds', now())"),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("favorites_pkey")),
        schema=SCHEMA,
    )
    op.create_table(
        "favorite_counts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("favorites", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("favorite_counts_pkey")),
        schema=SCHEMA,
    )
    for statement in (*_INDEXES, *_COUNTED):
        op.execute(statement)


def downgrade() -> None:
    for table in ("favorites", "favorite_counts", "deleted_customers", "consumed_offsets"):
        op.drop_table(table, schema=SCHEMA)
    for name in ("new", "gone", "truncated"):
        op.execute(f"DROP FUNCTION favorites.count_{name}")


_INDEXES = [
    "CREATE UNIQUE INDEX favorites_user_id_key ON favorites.favorites (user_id, item_id) INCLUDE (id, created_at)",
    "CREATE INDEX favorites_item_id_idx ON favorites.favorites (item_id, id) INCLUDE (user_id, created_at)",
    """
    CREATE INDEX deleted_customers_erased_idx ON favorites.deleted_customers (customer_id)
    WHERE version = 9223372036854775807
    """,
    "CREATE INDEX favorites_created_at_idx ON favorites.favorites (created_at)",
]

# Appended, never updated in place: writers would wait for each other.
_COUNTED = [
    """
    CREATE FUNCTION favorites.count_new() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO favorites.favorite_counts (favorites) SELECT count(*) FROM new_rows HAVING count(*) > 0;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION favorites.count_gone() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO favorites.favorite_counts (favorites) SELECT -count(*) FROM old_rows HAVING count(*) > 0;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION favorites.count_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO favorites.favorite_counts (favorites)
        SELECT -sum(favorites) FROM favorites.favorite_counts HAVING count(*) > 0;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER favorites_counted_new AFTER INSERT ON favorites.favorites
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION favorites.count_new()
    """,
    """
    CREATE TRIGGER favorites_counted_gone AFTER DELETE ON favorites.favorites
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION favorites.count_gone()
    """,
    """
    CREATE TRIGGER favorites_counted_truncated AFTER TRUNCATE ON favorites.favorites
    FOR EACH STATEMENT EXECUTE FUNCTION favorites.count_truncated()
    """,
]
