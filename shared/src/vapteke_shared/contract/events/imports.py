"""The events of an import: tasks for the importers, their progress, and the state of each import."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta

from vapteke_shared.contract.events.event import Count, Event, Instant, Int64, PartitionNumber
from vapteke_shared.contract.limits import (
    BASIS_CHARACTERS,
    COLUMN_CHARACTERS,
    ERROR_CHARACTERS,
    FINGERPRINT_CHARACTERS,
    INT32_MAX,
    INT64_MAX,
    ROWS_PER_TASK,
)

Chunk = Annotated[int, Meta(ge=0, le=INT32_MAX, description="the range's number in its import", examples=[7])]
Number = Annotated[
    Annotated[int, Meta(ge=1, le=INT64_MAX)] | None,
    Meta(
        description="the dispatch number of the task; numbers ascend across all imports, and when a row was read twice "
        "the reading with the greater number wins. Null: sent by a release without numbers",
        examples=[4711],
    ),
]
Attempt = Annotated[
    UUID,
    Meta(
        description="the id of one attempt at reading the range; each attempt has a new one",
        examples=["9b2f6a54-4b5c-4d0e-8f1a-0c3f1f1d7a20"],
    ),
]
Fingerprint = Annotated[
    str,
    Meta(
        max_length=FINGERPRINT_CHARACTERS,
        pattern="^[0-9]+:-?[0-9]+$",
        description="the number of rows in a range, and the sum of what vAptekeSync computes for each",
    ),
]
Basis = Annotated[
    dict[str, Annotated[str, Meta(max_length=BASIS_CHARACTERS)]] | None,
    Meta(
        description="everything on which fingerprints depend: they can be compared only with fingerprints of the same "
        "basis. Null: with none",
        examples=[{"server": "SQL1", "database": "vAptekeSync", "table_id": "901578250", "timezone": "Europe/Moscow"}],
    ),
]
# msgspec puts only the values of a dict into the schema, not its keys
_PARTITIONS_ONLY = {"propertyNames": {"pattern": "^[0-9]{1,10}$"}}


class ImportEvent(Event):
    """The fields that every event of an import has."""

    import_id: Annotated[UUID, Meta(description="the import", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"])]


class PlanRequested(ImportEvent):
    """Task: check the legacy table and divide its keys into ranges."""

    type = "vapteke.import.plan_requested"
    rows_per_range: Annotated[
        int, Meta(ge=1, le=INT32_MAX, description="how many rows each range should have", examples=[10000])
    ]
    number: Number = None
    stored_bounds: Annotated[
        list[Int64] | None,
        Meta(
            description="the last keys, ascending, of the stored ranges: only those that have changed need to be read. "
            "Null: every range must be read",
            examples=[[81220, 102954]],
        ),
    ] = None
    stored_fingerprints: Annotated[
        list[Fingerprint | None] | None,
        Meta(
            description="their fingerprints, in the same order; null: the range must be read",
            examples=[["10000:-4151832096441893022", None]],
        ),
    ] = None
    basis: Basis = None


class RangeRequested(ImportEvent):
    """Task: read the rows with `after_id` < key <= `upto_id` (no lower bound when null) and publish them."""

    type = "vapteke.import.range_requested"
    chunk: Chunk
    after_id: Annotated[Int64 | None, Meta(description="the range begins after this key", examples=[81220])]
    upto_id: Annotated[Int64, Meta(description="the range's last key, included", examples=[102954])]
    number: Number = None


class RowsRequested(ImportEvent):
    """Task: read those of the rows with these keys that exist, and publish them like those of a range.

    Do it even if `vapteke.import.state.v1` does not name the import: it runs beside the import that is named there.
    """

    type = "vapteke.import.rows_requested"
    chunk: Chunk
    legacy_ids: Annotated[
        list[Int64],
        Meta(
            min_length=1,
            max_length=ROWS_PER_TASK,
            description="the keys of the rows in vAptekeSync, each once, ascending",
            examples=[[3049, 14722]],
        ),
    ]
    number: Number = None


class PlanStarted(ImportEvent):
    """An importer has started to make the plan."""

    type = "vapteke.import.plan_started"
    number: Number = None


class Planned(ImportEvent):
    """The plan: the ranges' upper bounds, ascending, and the number of rows. No bounds: the table is empty."""

    type = "vapteke.import.planned"
    row_count: Annotated[Count, Meta(description="rows in the table", examples=[78553])]
    upper_bounds: Annotated[
        list[Int64], Meta(description="each range's last key, ascending", examples=[[81220, 102954]])
    ]
    number: Number = None
    warnings: Annotated[
        list[Annotated[str, Meta(max_length=ERROR_CHARACTERS)]] | None,
        Meta(
            description="what an operator should know although the import continues; no personal data",
            examples=[["dbo.Customers is a view: its key was checked by counting"]],
        ),
    ] = None
    source_at: Annotated[
        Instant | None,
        Meta(description="vAptekeSync's clock when the plan was made", examples=["2026-01-02T03:04:05.678Z"]),
    ] = None
    importer_at: Annotated[
        Instant | None,
        Meta(description="the importer's clock at the same moment", examples=["2026-01-02T03:04:05.676Z"]),
    ] = None
    unread: Annotated[
        list[Chunk] | None,
        Meta(
            description="the numbers of the ranges that have not changed and need not be read; the first range has "
            "number 0. Null: every range must be read",
            examples=[[0, 1, 2]],
        ),
    ] = None
    unread_rows: Annotated[
        Count | None, Meta(description="rows in the ranges that have not changed", examples=[70000])
    ] = None
    full_because: Annotated[
        Annotated[str, Meta(max_length=ERROR_CHARACTERS)] | None,
        Meta(
            description="why every range must be read although the task named stored ranges",
            examples=["these have changed since the last import: table_altered_at"],
        ),
    ] = None
    basis: Basis = None
    columns: Annotated[
        dict[str, Annotated[str, Meta(max_length=COLUMN_CHARACTERS)]] | None,
        Meta(
            description="by field: the column from which it is read, and the column's type. Null: the importer is of "
            "an earlier release",
            examples=[{"birthday": "Birthday (date)", "email": "Email (nvarchar)"}],
        ),
    ] = None


class RangePublished(ImportEvent):
    """Kafka has acknowledged all events of one attempt: their number, and the last offset in each partition."""

    type = "vapteke.import.range_published"
    chunk: Chunk
    attempt: Attempt
    event_count: Annotated[Count, Meta(description="events of this attempt", examples=[10000])]
    last_offsets: Annotated[
        dict[PartitionNumber, Count],
        Meta(
            description="the attempt's last offset in each partition that received events",
            examples=[{"0": 41250, "3": 39871}],
            extra_json_schema=_PARTITIONS_ONLY,
        ),
    ]
    number: Number = None
    fingerprint: Annotated[
        Fingerprint | None,
        Meta(
            description="the fingerprint of the rows that were read; null: a row has none, or the importer is of an "
            "earlier release",
            examples=["10000:-4151832096441893022"],
        ),
    ] = None
    valid_until: Annotated[
        Instant | None,
        Meta(
            description="when the fingerprint expires, because a value that lies in the future becomes usable; null: "
            "never",
            examples=["2027-01-02T00:00:00.000Z"],
        ),
    ] = None
    basis: Basis = None


class AttemptFailed(ImportEvent):
    """An attempt at the plan (`chunk` is null) or at a range has failed, and the importer will try again."""

    type = "vapteke.import.attempt_failed"
    chunk: Annotated[Chunk | None, Meta(description="the range's number; null: the plan", examples=[7])]
    attempt: Annotated[int, Meta(ge=1, le=INT32_MAX, description="which attempt has failed", examples=[1])]
    attempts: Annotated[int, Meta(ge=1, le=INT32_MAX, description="how many attempts there are at most", examples=[3])]
    retry_seconds: Annotated[float, Meta(ge=0, description="seconds until the next attempt", examples=[30])]
    error: Annotated[
        str,
        Meta(
            max_length=ERROR_CHARACTERS,
            description="why, for operators; no personal data",
            examples=["vAptekeSync at 192.168.123.205:1433 did not answer within 30 s"],
        ),
    ]
    number: Number = None


class Failed(ImportEvent):
    """The plan (`chunk` is null) or a range has failed for good; `error` is for operators."""

    type = "vapteke.import.failed"
    chunk: Annotated[Chunk | None, Meta(description="the range's number; null: the plan", examples=[7])]
    error: Annotated[
        str,
        Meta(
            max_length=ERROR_CHARACTERS,
            description="why, for operators; no personal data",
            examples=["table dbo.Customers has no column Birthday"],
        ),
    ]
    number: Number = None


class ImportState(ImportEvent):
    """An import is active, or has ended. Only the import that was announced last can be active."""

    type = "vapteke.import.state"
    status: Annotated[
        Literal["requested", "running", "completed", "failed", "cancelled"],
        Meta(description="requested or running: active; otherwise how it ended", examples=["completed"]),
    ]
    read: Annotated[Count, Meta(description="rows that it read; 0 until it has ended", examples=[78553])] = 0
    error: Annotated[str | None, Meta(description="why it failed, for operators", examples=[None])] = None


TASKS: tuple[type[Event], ...] = (PlanRequested, RangeRequested, RowsRequested)
PROGRESS: tuple[type[Event], ...] = (PlanStarted, Planned, AttemptFailed, RangePublished, Failed)
STATES: tuple[type[Event], ...] = (ImportState,)
