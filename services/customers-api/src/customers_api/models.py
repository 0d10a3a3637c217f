"""The tables of schema `customers`. Personal columns are nullable, so that a person can be erased and the row stay."""

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel
from vapteke_shared.postgres.tables import INSTANT, NOW, Schema, StoredOffset, identity

SCHEMA = Schema("customers", service="customers-api")
ALIVE = ("requested", "planning", "running")
_ALIVE_SQL = "status IN ('requested', 'planning', 'running')"
_LIVING = text("deleted_at IS NULL")
_ZERO = {"server_default": text("0")}


class Table(SQLModel):
    metadata: ClassVar[MetaData] = SCHEMA.metadata


def _by_folded(name: str, column: str, **options: Any) -> Index:
    """Without case, and in the order of the code points, so that a prefix is a range."""
    folded = literal_column(f"{SCHEMA.name}.folded({column})", Text()).label("folded")
    return Index(name, folded, postgresql_ops={"folded": "text_pattern_ops"}, **options)


class Phone(Table, table=True):
    """One row per number, for ever. `digits` is code and number together."""

    __tablename__ = "phones"

    id: int = Field(sa_column=identity())
    code: str = Field(sa_type=Text)
    number: str = Field(sa_type=Text)
    digits: str = Field(sa_column=Column(Text, Computed("code || number", persisted=True), unique=True))


class Firstname(Table, table=True):
    __tablename__ = "firstnames"
    __table_args__ = (
        # by prefix; what it includes lets the index alone answer
        _by_folded("firstnames_folded_idx", "name", postgresql_include=["name", "id"]),
    )

    id: int = Field(sa_column=identity())
    name: str = Field(sa_type=Text, unique=True)


class Customer(Table, table=True):
    """A registered customer. `phone_from` says who gave the phone: `api` or `import`."""

    __tablename__ = "customers"
    __table_args__ = (
        # one phone, one living customer
        Index("customers_living_phone_key", "phone_id", unique=True, postgresql_where=_LIVING),
        Index("customers_living_id_idx", "id", postgresql_where=_LIVING),
        Index("customers_phoneless_idx", "id", postgresql_where=text("deleted_at IS NULL AND phone_id IS NULL")),
        # the filters of the list; with deleted_at the index alone can count, with and without the deleted
        _by_folded("customers_email_idx", "email"),
        _by_folded("customers_lastname_idx", "lastname"),
        Index("customers_firstname_id_idx", "firstname_id", "deleted_at"),
        Index("customers_city_id_idx", "city_id", "deleted_at"),
        Index("customers_birthday_idx", "birthday", "gender", "deleted_at"),
        Index("customers_deleted_phone_id_idx", "phone_id", postgresql_where=text("deleted_at IS NOT NULL")),
        # every update changes it: a btree would end HOT updates, the first and last instant of each page do not
        Index(
            "customers_updated_at_idx", "updated_at", postgresql_using="brin", postgresql_with={"pages_per_range": 1}
        ),
        CheckConstraint("phone_from IN ('api', 'import')", name="phone_from"),
        CheckConstraint("gender IN ('M', 'F')", name="gender"),
        CheckConstraint("city_id >= 0", name="city_id"),
        # room for HOT updates: the import updates no indexed column but the phone
        {"postgresql_with": {"fillfactor": 85}},
    )

    id: int = Field(sa_column=identity())
    phone_id: int | None = Field(None, sa_type=BigInteger, foreign_key="customers.phones.id")
    phone_from: str | None = Field(None, sa_type=Text)
    firstname_id: int | None = Field(None, sa_type=BigInteger, foreign_key="customers.firstnames.id")
    lastname: str | None = Field(None, sa_type=Text)
    email: str | None = Field(None, sa_type=Text)
    birthday: date | None = Field(None, sa_type=Date)
    gender: str | None = Field(None, sa_type=Text)
    city_id: int | None = Field(None, sa_type=BigInteger)
    last_auth_at: datetime | None = Field(None, sa_type=INSTANT)
    version: int = Field(1, sa_type=BigInteger)
    created_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    updated_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    deleted_at: datetime | None = Field(None, sa_type=INSTANT)


class CustomerCount(Table, table=True):
    """By how much the numbers of customers changed, row by row; their sums are the numbers. Triggers write it."""

    __tablename__ = "customer_counts"

    id: int = Field(sa_column=identity())
    living: int = Field(sa_type=BigInteger)
    deleted: int = Field(sa_type=BigInteger)


class LegacyCustomer(Table, table=True):
    """The mirror: each legacy row as it was last applied, and the customer it belongs to. Only imports write it.

    `number` and `read_at` are those of the reading that it reflects: `number` is null in rows that were written before
    hand-outs had numbers. `changed_in` and `changed_as` remember the import that last wrote the row and how it counted
    it.
    """

    __tablename__ = "legacy_customers"
    __table_args__ = ({"postgresql_with": {"fillfactor": 85}},)

    legacy_id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    customer_id: int = Field(sa_type=BigInteger, foreign_key="customers.customers.id", unique=True)
    phone_id: int | None = Field(sa_type=BigInteger, foreign_key="customers.phones.id", index=True)
    firstname: str | None = Field(None, sa_type=Text)
    lastname: str | None = Field(None, sa_type=Text)
    email: str | None = Field(None, sa_type=Text)
    birthday: date | None = Field(None, sa_type=Date)
    gender: str | None = Field(None, sa_type=Text)
    city_id: int | None = Field(None, sa_type=BigInteger)
    last_auth_at: datetime | None = Field(None, sa_type=INSTANT)
    read_at: datetime = Field(sa_type=INSTANT)
    number: int | None = Field(None, sa_type=BigInteger)
    changed_in: UUID
    changed_as: str = Field(sa_type=Text)


class Import(Table, table=True):
    """One run of the import, as a job. The counts are final once `finished_at` is set.

    `plan_number` is the number of the plan's hand-out. `source_ahead_seconds` is by how much vAptekeSync's clock was
    ahead of the importer's at the plan.
    """

    __tablename__ = "imports"
    __table_args__ = (
        # at most one import is alive
        Index("imports_one_alive_key", text("(true)"), unique=True, postgresql_where=text(_ALIVE_SQL)),
        CheckConstraint(
            "status IN ('requested', 'planning', 'running', 'completed', 'failed', 'cancelled')", name="status"
        ),
        Index("imports_requested_at_idx", text("requested_at DESC"), "id"),
    )

    id: UUID = Field(primary_key=True)
    status: str = Field(sa_type=Text)
    planned_rows: int | None = Field(None, sa_type=BigInteger)
    read: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    created: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    updated: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    unchanged: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    skipped: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    rejected: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    repaired: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    error: str | None = Field(None, sa_type=Text)
    warnings: list[str] = Field(sa_type=ARRAY(Text), sa_column_kwargs={"server_default": text("'{}'")})
    plan_number: int | None = Field(None, sa_type=BigInteger)
    source_ahead_seconds: float | None = Field(None, sa_type=Float)
    attempt_failed: dict[str, Any] | None = Field(None, sa_type=JSONB)
    requested_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    started_at: datetime | None = Field(None, sa_type=INSTANT)
    cancelled_at: datetime | None = Field(None, sa_type=INSTANT)
    finished_at: datetime | None = Field(None, sa_type=INSTANT)


class ImportChunk(Table, table=True):
    """One key range of an import. `attempt`, `event_count` and `last_offsets` are those of the attempt that won.

    `number` is that of its hand-out, from the sequence `hand_out_numbers`.
    """

    __tablename__ = "import_chunks"
    __table_args__ = (CheckConstraint("status IN ('planned', 'requested', 'published', 'failed')", name="status"),)

    import_id: UUID = Field(primary_key=True, foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int = Field(sa_type=Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    after_id: int | None = Field(None, sa_type=BigInteger)
    upto_id: int = Field(sa_type=BigInteger)
    number: int | None = Field(None, sa_type=BigInteger)
    status: str = Field(sa_type=Text)
    attempt: UUID | None = None
    event_count: int | None = Field(None, sa_type=BigInteger)
    last_offsets: dict[str, int] | None = Field(None, sa_type=JSONB)
    attempt_failed: dict[str, Any] | None = Field(None, sa_type=JSONB)
    moved_at: datetime | None = Field(None, sa_type=INSTANT)


class ImportCount(Table, table=True):
    """How the events of one attempt at a range were counted, by the partition they came in."""

    __tablename__ = "import_counts"

    import_id: UUID = Field(primary_key=True, foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int = Field(sa_type=Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    attempt: UUID = Field(primary_key=True)
    partition: int = Field(sa_type=Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    created: int = Field(sa_type=BigInteger)
    updated: int = Field(sa_type=BigInteger)
    unchanged: int = Field(sa_type=BigInteger)
    skipped: int = Field(sa_type=BigInteger)
    rejected: int = Field(sa_type=BigInteger)


class ImportReading(Table, table=True):
    """Which rows an attempt has read, batch by batch, until the import ends."""

    __tablename__ = "import_readings"
    __table_args__ = (Index("import_readings_import_id_chunk_idx", "import_id", "chunk"),)

    id: int = Field(sa_column=identity())
    import_id: UUID = Field(foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int = Field(sa_type=Integer)
    attempt: UUID
    read_at: datetime = Field(sa_type=INSTANT)
    legacy_ids: list[int] = Field(sa_type=ARRAY(BigInteger))


class ImportRejection(Table, table=True):
    """What was rejected or repaired, and why; never the value. `attempt` is null for a phone_conflict."""

    __tablename__ = "import_rejections"
    __table_args__ = (
        Index("import_rejections_import_id_chunk_idx", "import_id", "chunk", "attempt"),
        CheckConstraint("kind IN ('row', 'field', 'phone_conflict')", name="kind"),
    )

    id: int = Field(sa_column=identity())
    import_id: UUID = Field(foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int | None = Field(None, sa_type=Integer)
    attempt: UUID | None = None
    legacy_id: int = Field(sa_type=BigInteger)
    kind: str = Field(sa_type=Text)
    field: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    customer_id: int | None = Field(None, sa_type=BigInteger)
    other_customer_id: int | None = Field(None, sa_type=BigInteger)
    other_legacy_id: int | None = Field(None, sa_type=BigInteger)


class ConsumedOffset(Table, StoredOffset, table=True):
    __tablename__ = "consumed_offsets"


class Republication(Table, table=True):
    """A run of `events republish`: customers up to `upto_id` are sent again, and are sent up to `last_id`."""

    __tablename__ = "republications"

    id: int = Field(sa_column=identity())
    started_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    finished_at: datetime | None = Field(None, sa_type=INSTANT)
    upto_id: int = Field(sa_type=BigInteger)
    last_id: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    sent: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    total: int = Field(sa_type=BigInteger)


class CustomerReread(Table, table=True):
    """The one row: after the completed import `import_id`, texts of customers up to `last_id` are read again, by this
    version of the rule and if they changed after `since`. Without `last_id` all are; without `since`, whenever.
    """

    __tablename__ = "customer_rereads"

    id: int = Field(sa_column=identity())
    import_id: UUID | None = None
    last_id: int | None = Field(None, sa_type=BigInteger)
    rule_version: int | None = Field(None, sa_type=Integer)
    begun_at: datetime | None = Field(None, sa_type=INSTANT)
    since: datetime | None = Field(None, sa_type=INSTANT)


class Outbox(Table, table=True):
    """Events and tasks that the relay has yet to send, in the order of `id`."""

    __tablename__ = "outbox"
    # vacuumed by the rows that have passed, at full speed: how many wait says nothing about it
    __table_args__ = (
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 1000,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )

    id: int = Field(sa_column=identity())
    topic: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    headers: dict[str, str] = Field(sa_type=JSONB)
    value: bytes | None = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
