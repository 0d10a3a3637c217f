"""The first tables: phones, first names, customers, their legacy mirror, imports, stored offsets, outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "consumed_offsets",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("consumed_offsets_pkey")),
        schema="customers",
    )
    op.create_table(
        "firstnames",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("firstnames_pkey")),
        sa.UniqueConstraint("name", name=op.f("firstnames_name_key")),
        schema="customers",
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("planned_rows", sa.BigInteger(), nullable=True),
        sa.Column("read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("repaired", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('requested', 'planning', 'running', 'completed', 'failed', 'cancelled')",
            name=op.f("imports_status_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("imports_pkey")),
        schema="customers",
    )
    op.create_index(
        "imports_one_alive_key",
        "imports",
        [sa.literal_column("(true)")],
        unique=True,
        schema="customers",
        postgresql_where=sa.text("status IN ('requested', 'planning', 'running')"),
    )
    op.create_index(
        "imports_requested_at_idx",
        "imports",
        [sa.literal_column("requested_at DESC"), "id"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
        schema="customers",
    )
    op.create_table(
        "phones",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("digits", sa.Text(), sa.Computed("code || number", persisted=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("phones_pkey")),
        sa.UniqueConstraint("digits", name=op.f("phones_digits_key")),
        schema="customers",
    )
    op.create_table(
        "customers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("phone_id", sa.BigInteger(), nullable=True),
        sa.Column("phone_from", sa.Text(), nullable=True),
        sa.Column("firstname_id", sa.BigInteger(), nullable=True),
        sa.Column("lastname", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("birthday", sa.Date(), nullable=True),
        sa.Column("gender", sa.Text(), nullable=True),
        sa.Column("city_id", sa.BigInteger(), nullable=True),
        sa.Column("last_auth_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("gender IN ('M', 'F')", name=op.f("customers_gender_check")),
        sa.CheckConstraint("phone_from IN ('api', 'import')", name=op.f("customers_phone_from_check")),
        sa.CheckConstraint("city_id >= 0", name=op.f("customers_city_id_check")),
        sa.ForeignKeyConstraint(
            ["firstname_id"], ["customers.firstnames.id"], name=op.f("customers_firstname_id_fkey")
        ),
        sa.ForeignKeyConstraint(["phone_id"], ["customers.phones.id"], name=op.f("customers_phone_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("customers_pkey")),
        schema="customers",
        postgresql_with={"fillfactor": 85},
    )
    op.create_index(
        "customers_living_id_idx",
        "customers",
        ["id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "customers_living_phone_key",
        "customers",
        ["phone_id"],
        unique=True,
        schema="customers",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "customers_phoneless_idx",
        "customers",
        ["id"],
        unique=False,
        schema="customers",
        postgresql_where=sa.text("deleted_at IS NULL AND phone_id IS NULL"),
    )
    op.create_table(
        "import_chunks",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("chunk", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("after_id", sa.BigInteger(), nullable=True),
        sa.Column("upto_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Uuid(), nullable=True),
        sa.Column("event_count", sa.BigInteger(), nullable=True),
        sa.Column("last_offsets", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "status IN ('planned', 'requested', 'published', 'failed')", name=op.f("import_chunks_status_check")
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["customers.imports.id"], name=op.f("import_chunks_import_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "chunk", name=op.f("import_chunks_pkey")),
        schema="customers",
    )
    op.create_table(
        "import_counts",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("chunk", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Uuid(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["customers.imports.id"], name=op.f("import_counts_import_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "chunk", "attempt", "partition", name=op.f("import_counts_pkey")),
        schema="customers",
    )
    op.create_table(
        "import_rejections",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Uuid(), nullable=True),
        sa.Column("legacy_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("other_customer_id", sa.BigInteger(), nullable=True),
        sa.Column("other_legacy_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('row', 'field', 'phone_conflict')", name=op.f("import_rejections_kind_check")),
        sa.ForeignKeyConstraint(
            ["import_id"], ["customers.imports.id"], name=op.f("import_rejections_import_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("import_rejections_pkey")),
        schema="customers",
    )
    op.create_index(
        "import_rejections_import_id_chunk_idx",
        "import_rejections",
        ["import_id", "chunk", "attempt"],
        unique=False,
        schema="customers",
    )
    op.create_table(
        "legacy_customers",
        sa.Column("legacy_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("phone_id", sa.BigInteger(), nullable=True),
        sa.Column("firstname", sa.Text(), nullable=True),
        sa.Column("lastname", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("birthday", sa.Date(), nullable=True),
        sa.Column("gender", sa.Text(), nullable=True),
        sa.Column("city_id", sa.BigInteger(), nullable=True),
        sa.Column("last_auth_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_in", sa.Uuid(), nullable=False),
        sa.Column("changed_as", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.customers.id"], name=op.f("legacy_customers_customer_id_fkey")
        ),
        sa.ForeignKeyConstraint(["phone_id"], ["customers.phones.id"], name=op.f("legacy_customers_phone_id_fkey")),
        sa.PrimaryKeyConstraint("legacy_id", name=op.f("legacy_customers_pkey")),
        sa.UniqueConstraint("customer_id", name=op.f("legacy_customers_customer_id_key")),
        schema="customers",
        postgresql_with={"fillfactor": 85},
    )
    op.create_index(
        op.f("legacy_customers_phone_id_idx"), "legacy_customers", ["phone_id"], unique=False, schema="customers"
    )


def downgrade() -> None:
    op.drop_index(op.f("legacy_customers_phone_id_idx"), table_name="legacy_customers", schema="customers")
    op.drop_table("legacy_customers", schema="customers")
    op.drop_index("import_rejections_import_id_chunk_idx", table_name="import_rejections", schema="customers")
    op.drop_table("import_rejections", schema="customers")
    op.drop_table("import_counts", schema="customers")
    op.drop_table("import_chunks", schema="customers")
    op.drop_index(
        "customers_phoneless_idx",
        table_name="customers",
        schema="customers",
        postgresql_where=sa.text("deleted_at IS NULL AND phone_id IS NULL"),
    )
    op.drop_index(
        "customers_living_phone_key",
        table_name="customers",
        schema="customers",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_index(
        "customers_living_id_idx",
        table_name="customers",
        schema="customers",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_table("customers", schema="customers")
    op.drop_table("phones", schema="customers")
    op.drop_table("outbox", schema="customers")
    op.drop_index("imports_requested_at_idx", table_name="imports", schema="customers")
    op.drop_index(
        "imports_one_alive_key",
        table_name="imports",
        schema="customers",
        postgresql_where=sa.text("status IN ('requested', 'planning', 'running')"),
    )
    op.drop_table("imports", schema="customers")
    op.drop_table("firstnames", schema="customers")
    op.drop_table("consumed_offsets", schema="customers")
