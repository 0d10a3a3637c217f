"""The events of an import: the tasks that importers are given, the progress that they report, and how imports end."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta

from vapteke_shared.contract.events.event import Count, Event, Instant, Int64, PartitionNumber
from vapteke_shared.contract.limits import ERROR_CHARACTERS, INT32_MAX, INT64_MAX

Chunk = Annotated[int, Meta(ge=0, le=INT32_MAX, description="the range's number in its import", examples=[7])]
Number = Annotated[
    Annotated[int, Meta(ge=1, le=INT64_MAX)] | None,
    Meta(
        description="the number of the task's hand-out; numbers ascend over all imports, and of two readings of a row "
        "the one with the greater number wins. Null: sent by a release without numbers",
        examples=[4711],
    ),
]
Attempt = Annotated[
    UUID,
    Meta(
        description="one try at reading the range; a new one each time",
        examples=["9b2f6a54-4b5c-4d0e-8f1a-0c3f1f1d7a20"],
    ),
]
# of a dict, msgspec writes only the values to a schema
_PARTITIONS_ONLY = {"propertyNames": {"pattern": "^[0-9]{1,10}$"}}


class ImportEvent(Event):
    """What each event of an import carries."""

    import_id: Annotated[UUID, Meta(description="the import", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"])]


class PlanRequested(ImportEvent):
    """Task: check the legacy table and cut its keys into ranges."""

    type = "vapteke.import.plan_requested"
    rows_per_range: Annotated[
        int, Meta(ge=1, le=INT32_MAX, description="how many rows a range is to have", examples=[10000])
    ]
    number: Number = None


class RangeRequested(ImportEvent):
    """Task: read the rows with `after_id` < key <= `upto_id` (no lower bound when null) and publish them."""

    type = "vapteke.import.range_requested"
    chunk: Chunk
    after_id: Annotated[Int64 | None, Meta(description="the range begins after this key", examples=[81220])]
    upto_id: Annotated[Int64, Meta(description="the range's last key", examples=[102954])]
    number: Number = None


class PlanStarted(ImportEvent):
    """An importer has taken the plan."""

    type = "vapteke.import.plan_started"
    number: Number = None


class Planned(ImportEvent):
    """The ranges' upper bounds, ascending, and how many rows there were; no bounds: the table is empty."""

    type = "vapteke.import.planned"
    row_count: Annotated[Count, Meta(description="rows in the table", examples=[78553])]
    upper_bounds: Annotated[
        list[Int64], Meta(description="each range's last key, ascending", examples=[[81220, 102954]])
    ]
    number: Number = None
    warnings: Annotated[
        list[Annotated[str, Meta(max_length=ERROR_CHARACTERS)]] | None,
        Meta(
            description="what an operator should know though the import goes on; no personal data",
            examples=[["dbo.Customers is a view: its key was checked by counting"]],
        ),
    ] = None
    source_at: Annotated[
        Instant | None,
        Meta(description="vAptekeSync's clock at the plan", examples=["2026-01-02T03:04:05.678Z"]),
    ] = None
    importer_at: Annotated[
        Instant | None,
        Meta(description="the importer's clock at the same moment", examples=["2026-01-02T03:04:05.676Z"]),
    ] = None


class RangePublished(ImportEvent):
    """All events of one attempt are acknowledged: how many, and the last offset of each partition that got any."""

    type = "vapteke.import.range_published"
    chunk: Chunk
    attempt: Attempt
    event_count: Annotated[Count, Meta(description="events of this attempt", examples=[10000])]
    last_offsets: Annotated[
        dict[PartitionNumber, Count],
        Meta(
            description="the last offset of each partition that got any",
            examples=[{"0": 41250, "3": 39871}],
            extra_json_schema=_PARTITIONS_ONLY,
        ),
    ]
    number: Number = None


class AttemptFailed(ImportEvent):
    """An attempt at the plan (`chunk` null) or at a range has failed, and the importer will try again."""

    type = "vapteke.import.attempt_failed"
    chunk: Annotated[Chunk | None, Meta(description="the range's number; null: the plan", examples=[7])]
    attempt: Annotated[int, Meta(ge=1, le=INT32_MAX, description="which attempt has failed", examples=[1])]
    attempts: Annotated[int, Meta(ge=1, le=INT32_MAX, description="how many there will be", examples=[3])]
    retry_seconds: Annotated[float, Meta(ge=0, description="when it tries again", examples=[30])]
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
    """The plan (`chunk` null) or a range could not be done; `error` is for operators."""

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
    """An import is alive, or has ended. The import that was first named last is the only one that can be alive."""

    type = "vapteke.import.state"
    status: Annotated[
        Literal["requested", "running", "completed", "failed", "cancelled"],
        Meta(description="alive: requested or running; else how it has ended", examples=["completed"]),
    ]
    read: Annotated[Count, Meta(description="rows that it has read, once it has ended", examples=[78553])] = 0
    error: Annotated[str | None, Meta(description="why it failed, for operators", examples=[None])] = None


TASKS: tuple[type[Event], ...] = (PlanRequested, RangeRequested)
PROGRESS: tuple[type[Event], ...] = (PlanStarted, Planned, AttemptFailed, RangePublished, Failed)
STATES: tuple[type[Event], ...] = (ImportState,)
