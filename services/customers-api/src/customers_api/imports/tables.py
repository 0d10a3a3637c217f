"""Tables of imports: jobs, key ranges, counts, rejections, and the mirror of the legacy rows."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Float,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field
from vapteke_shared.postgres.tables import INSTANT, NOW, identity

from customers_api.customers.tables import ProfileColumns
from customers_api.schema import Table

IN_TURN = ("requested", "planning", "running")
"""The states of the one import that looks at the whole table."""
READING = "reading"
"""The state of an unfinished import of single rows. There may be several, also beside the one import in its turn."""
UNFINISHED = (*IN_TURN, READING)
HANDING_OUT = ("running", READING)
"""The states in which importers get tasks to read key ranges or single rows."""
_IN_TURN_SQL = "status IN ('requested', 'planning', 'running')"
_ZERO = {"server_default": text("0")}


class LegacyCustomerRow(ProfileColumns, Table, table=True):
    """A row of the mirror: a legacy row as it was last applied, and its customer. Only imports write the mirror.

    It has no foreign keys; `mirror_orphans.py` counts rows whose customer or phone does not exist.

    `read_at` and `number`, the dispatch number, are those of the reading that the row reflects. `number` is null in
    rows that are older than dispatch numbers. `changed_in` is the import that last accepted and wrote the row, and
    `changed_as` is the class in which that import counted the row.

    `gone_at`, `gone_in` (an import) and `gone_as` (a DeletionStatus) mark a row that is gone from vAptekeSync; null: it
    is not. `joined` tells whether the API had created the customer before the row came; null: unknown, because an
    earlier release wrote the row.
    """

    __tablename__ = "legacy_customers"
    __table_args__ = (
        Index("legacy_customers_gone_in_idx", "gone_in", "legacy_id", postgresql_where=text("gone_in IS NOT NULL")),
        Index("legacy_customers_to_delete_idx", "legacy_id", postgresql_where=text("gone_as = 'approved'")),
        {"postgresql_with": {"fillfactor": 85}},
    )

    legacy_id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    customer_id: int = Field(sa_type=BigInteger, unique=True)
    phone_id: int | None = Field(sa_type=BigInteger, index=True)
    firstname: str | None = Field(None, sa_type=Text)
    read_at: datetime = Field(sa_type=INSTANT)
    number: int | None = Field(None, sa_type=BigInteger)
    changed_in: UUID
    changed_as: str = Field(sa_type=Text)
    joined: bool | None = None
    gone_at: datetime | None = Field(None, sa_type=INSTANT)
    gone_in: UUID | None = None
    gone_as: str | None = Field(None, sa_type=Text)


class ImportRow(Table, table=True):
    """One import, as a job. Callers see two states under other names: `waiting`, while an import of another kind is
    unfinished, as `requested`; and `reading`, an unfinished import of kind `rows`, as `running`.

    The counts are 0 until the import ends, and then final; `queries` adds them up before that.

    `requested_by` is the subject of the token, `schedule`, or `command line`; null in imports of earlier releases.
    `unread` counts the rows that did not have to be read. `full_because` says why all rows are read although only
    changes were requested. `last_bound` is the last key of the plan, `basis` that of its fingerprints, and `columns`
    the columns from which fields are read; each is null before the plan, and in plans of earlier releases.
    `plan_number` is the dispatch number of the plan. `source_ahead_seconds` is by how much vAptekeSync's clock was
    ahead of the importer's when the plan was made.

    `repeated` counts later imports that found nothing either and are folded into this one, and `repeated_at` is when
    the last of them ended. `only_scheduled`: no caller has the id. `has_details` is false once the ranges, counts and
    lists were deleted.
    """

    __tablename__ = "imports"
    __table_args__ = (
        # at most one import of the whole table is unfinished
        Index("imports_one_alive_key", text("(true)"), unique=True, postgresql_where=text(_IN_TURN_SQL)),
        CheckConstraint(
            "status IN ('reading', 'waiting', 'requested', 'planning', 'running', 'completed', 'failed', 'cancelled')",
            name="status",
        ),
        # of each kind, at most one import waits for its turn
        Index("imports_waiting_key", "kind", unique=True, postgresql_where=text("status = 'waiting'")),
        Index("imports_requested_at_idx", text("requested_at DESC"), "id"),
        Index(
            "imports_with_details_idx",
            "kind",
            text("requested_at DESC"),
            "id",
            postgresql_where=text("has_details"),
        ),
    )

    id: UUID = Field(primary_key=True)
    kind: str = Field(sa_type=Text, sa_column_kwargs={"server_default": text("'full'")})
    status: str = Field(sa_type=Text)
    planned_rows: int | None = Field(None, sa_type=BigInteger)
    read: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    created: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    updated: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    unchanged: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    skipped: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    rejected: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    repaired: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    unread: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    gone: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    error: str | None = Field(None, sa_type=Text)
    warnings: list[str] = Field(sa_type=ARRAY(Text), sa_column_kwargs={"server_default": text("'{}'")})
    plan_number: int | None = Field(None, sa_type=BigInteger)
    last_bound: int | None = Field(None, sa_type=BigInteger)
    basis: dict[str, str] | None = Field(None, sa_type=JSONB)
    columns: dict[str, str] | None = Field(None, sa_type=JSONB)
    full_because: str | None = Field(None, sa_type=Text)
    source_ahead_seconds: float | None = Field(None, sa_type=Float)
    attempt_failed: dict[str, Any] | None = Field(None, sa_type=JSONB)
    requested_by: str | None = Field(None, sa_type=Text)
    requested_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    started_at: datetime | None = Field(None, sa_type=INSTANT)
    cancelled_at: datetime | None = Field(None, sa_type=INSTANT)
    finished_at: datetime | None = Field(None, sa_type=INSTANT)
    repeated: int = Field(0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    repeated_at: datetime | None = Field(None, sa_type=INSTANT)
    only_scheduled: bool = Field(False, sa_column_kwargs={"server_default": text("false")})
    has_details: bool = Field(True, sa_column_kwargs={"server_default": text("true")})


class ImportChunkRow(Table, table=True):
    """One key range of an import, or the bounds of up to 100 single rows.

    `attempt`, `event_count` and `last_offsets` are those of the attempt that won, and null before that. `fingerprint`
    is that attempt's, too; null: unknown, or its basis is not that of the plan. An import of changes has no rows for
    the ranges that it need not read. `number` is the range's dispatch number, from the sequence `hand_out_numbers`. It
    is null until the range is requested.
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
    fingerprint: str | None = Field(None, sa_type=Text)
    valid_until: datetime | None = Field(None, sa_type=INSTANT)
    attempt_failed: dict[str, Any] | None = Field(None, sa_type=JSONB)
    moved_at: datetime | None = Field(None, sa_type=INSTANT)


class StoredRangeRow(Table, table=True):
    """A key range as a completed import has read it: the keys above the `upto_id` of the row before, up to this one.

    A range without a `fingerprint` must be read, and so must any range from its `valid_until` on. `import_id` is the
    import whose `basis` the fingerprint has.
    """

    __tablename__ = "stored_ranges"

    upto_id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    fingerprint: str | None = Field(None, sa_type=Text)
    valid_until: datetime | None = Field(None, sa_type=INSTANT)
    import_id: UUID


class ImportCountRow(Table, table=True):
    """How many events of one attempt at a range, in one partition, were counted in each class."""

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


class ImportReadingRow(Table, table=True):
    """The rows of one batch that one attempt at a range has read: their legacy ids, and the latest `read_at` of them.

    The sweeper deletes it when it ends this import or a later one.
    """

    __tablename__ = "import_readings"
    __table_args__ = (Index("import_readings_import_id_chunk_idx", "import_id", "chunk"),)

    id: int = Field(sa_column=identity())
    import_id: UUID = Field(foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int = Field(sa_type=Integer)
    attempt: UUID
    read_at: datetime = Field(sa_type=INSTANT)
    legacy_ids: list[int] = Field(sa_type=ARRAY(BigInteger))


class ImportRejectionRow(Table, table=True):
    """What was rejected or repaired, and why; never the value itself.

    `chunk` and `attempt` are null for a phone_conflict.
    """

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


class ImportDifferenceRow(Table, table=True):
    """A difference that an import of kind `compare` has found. It names fields, never values.

    `chunk` and `attempt` are null if the difference was found at the end, and not in a row that was read.
    """

    __tablename__ = "import_differences"
    __table_args__ = (Index("import_differences_import_id_legacy_id_idx", "import_id", "legacy_id", "id"),)

    id: int = Field(sa_column=identity())
    import_id: UUID = Field(foreign_key="customers.imports.id", ondelete="CASCADE")
    chunk: int | None = Field(None, sa_type=Integer)
    attempt: UUID | None = None
    legacy_id: int | None = Field(None, sa_type=BigInteger)
    customer_id: int | None = Field(None, sa_type=BigInteger)
    difference: str = Field(sa_type=Text)
    fields: list[str] = Field(sa_type=ARRAY(Text), sa_column_kwargs={"server_default": text("'{}'")})


class CustomerRereadRow(Table, table=True):
    """The progress of `reread_customers`, in one row: its run after the completed import `import_id`.

    The run has read the customers up to `last_id`; null: no run is due. It uses version `rule_version` of the text
    rule. It skips customers that have not changed since `since`; null: it skips nobody.
    """

    __tablename__ = "customer_rereads"

    id: int = Field(sa_column=identity())
    import_id: UUID | None = None
    last_id: int | None = Field(None, sa_type=BigInteger)
    rule_version: int | None = Field(None, sa_type=Integer)
    begun_at: datetime | None = Field(None, sa_type=INSTANT)
    since: datetime | None = Field(None, sa_type=INSTANT)
