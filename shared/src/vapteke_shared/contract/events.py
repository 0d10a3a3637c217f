"""The event contract: what travels on the topics, as JSON values with CloudEvents 1.0 headers (binary mode).

An event's `ce_type` is its class's `type`. `decode` raises EventInvalid for whatever is none of them.
"""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from vapteke_shared.contract import phones

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Chunk = Annotated[int, Meta(ge=0, le=2**31 - 1, description="the range's number in its import", examples=[7])]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
PartitionNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Email = Annotated[str, Meta(min_length=3, max_length=254)]
Digits = Annotated[str, Meta(pattern=r"^[0-9]{11,15}\Z")]
Instant = Annotated[datetime, Meta(tz=True)]
Number = Annotated[
    Annotated[int, Meta(ge=1, le=2**63 - 1)] | None,
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
Field = Literal["phone", "firstname", "lastname", "email", "birthday", "gender", "city_id", "last_auth_at", "row"]
ChangedField = Literal[
    "phone", "firstname", "lastname", "email", "birthday", "gender", "city_id", "last_auth_at", "deleted_at"
]
Reason = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,60}\Z")]
IN_THE_FUTURE: Final = "in_the_future"
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far the clocks that write `last_auth_at` may be ahead of ours: a sign-in within it is not in the future."""
PLACEHOLDER_DATE: Final = "placeholder_date"
"""A date that stands for none, such as 1900-01-01, which SQL Server makes of an empty text."""
UNREADABLE: Final = "unreadable"
"""The reason of a rejected row, field `row`: a value of the row makes every SELECT of it fail."""
# of a dict, msgspec writes only the values to a schema
_FIELDS_ONLY = {"propertyNames": {"enum": sorted(get_args(Field))}}
_PARTITIONS_ONLY = {"propertyNames": {"pattern": "^[0-9]{1,10}$"}}

_VERSION_4: Final = UUID(int=0, version=4).int
_RANDOM_BITS: Final = _VERSION_4 ^ UUID(int=2**128 - 1, version=4).int

_BAD_ENUM = "Invalid enum value"

Headers = list[tuple[str, bytes]]


class EventInvalid(ValueError):
    """A record is none of the events that its topic carries; the text never holds its values."""


class Event(msgspec.Struct, kw_only=True):
    """The base of all events. Unknown fields are let through: a newer producer may add some."""

    type: ClassVar[str]


class ImportEvent(Event):
    """What each event of an import carries."""

    import_id: Annotated[UUID, Meta(description="the import", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"])]


class PlanRequested(ImportEvent):
    """Task: check the legacy table and cut its keys into ranges."""

    type = "vapteke.import.plan_requested"
    rows_per_range: Annotated[
        int, Meta(ge=1, le=2**31 - 1, description="how many rows a range is to have", examples=[10000])
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
        list[Annotated[str, Meta(max_length=2000)]] | None,
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
    attempt: Annotated[int, Meta(ge=1, le=2**31 - 1, description="which attempt has failed", examples=[1])]
    attempts: Annotated[int, Meta(ge=1, le=2**31 - 1, description="how many there will be", examples=[3])]
    retry_seconds: Annotated[float, Meta(ge=0, description="when it tries again", examples=[30])]
    error: Annotated[
        str,
        Meta(
            max_length=2000,
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
            max_length=2000,
            description="why, for operators; no personal data",
            examples=["table dbo.Customers has no column Birthday"],
        ),
    ]
    number: Number = None


class LegacyRow(ImportEvent, kw_only=True):
    """What each event about one legacy row carries."""

    chunk: Chunk
    attempt: Attempt
    legacy_id: Annotated[Int64, Meta(description="the row's key in vAptekeSync", examples=[14722])]
    read_at: Annotated[
        Instant, Meta(description="when it was read, by vAptekeSync's clock", examples=["2026-01-02T03:04:05.678Z"])
    ]
    number: Number = None


class LegacyCustomerRead(LegacyRow, kw_only=True):
    """A legacy customer, normalised. A field with an unusable value is null and named in `unusable` with the reason."""

    type = "vapteke.legacy_customer.read"
    phone: Annotated[Digits, Meta(description="code and number together", examples=["79025163111"])]
    firstname: Annotated[Name | None, Meta(description="first name", examples=["Виктор"])] = None
    lastname: Annotated[Name | None, Meta(description="last name", examples=["Иванов"])] = None
    email: Annotated[Email | None, Meta(description="e-mail address", examples=["user@example.com"])] = None
    birthday: Annotated[date | None, Meta(description="date of birth", examples=["1980-12-21"])] = None
    gender: Annotated[Literal["M", "F"] | None, Meta(description="gender", examples=["M"])] = None
    city_id: Annotated[Count | None, Meta(description="the city's number", examples=[0])] = None
    last_auth_at: Annotated[
        Instant | None, Meta(description="the last sign-in", examples=["2023-12-21T04:20:37.024Z"])
    ] = None
    unusable: Annotated[
        dict[Field, Reason] | None,
        Meta(
            description="fields whose value cannot be used, and why",
            examples=[{"lastname": "too_long"}],
            extra_json_schema=_FIELDS_ONLY,
        ),
    ] = None


class LegacyCustomerRejected(LegacyRow, kw_only=True):
    """A legacy row that cannot become a customer: the reasons, and no values."""

    type = "vapteke.legacy_customer.rejected"
    reasons: Annotated[
        dict[Field, Reason],
        Meta(
            min_length=1,
            description="fields that make the row unusable, and why",
            examples=[{"phone": "too_short"}],
            extra_json_schema=_FIELDS_ONLY,
        ),
    ]


class CustomerEvent(Event):
    """A customer as it is after a change: its full state. Act on the state, never on the event's type alone.

    Compaction may remove a step, so gaps in `version` are normal; drop what is not newer than what you have.
    A deleted customer is a state with `deleted_at` and keeps the phone it had, which may be somebody else's by now.
    """

    id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="the record's key too", examples=[14722])]
    version: Annotated[int, Meta(ge=1, le=2**63 - 1, description="grows by one with each change", examples=[3])]
    origin: Annotated[Literal["api", "import"], Meta(description="what caused the change", examples=["api"])]
    changed: Annotated[
        list[ChangedField],
        Meta(description="what differs from the version before", examples=[["firstname", "city_id"]]),
    ]
    phone: Annotated[Digits | None, Meta(description="code and number together", examples=["79025163111"])]
    firstname: Annotated[str | None, Meta(description="first name", examples=["Виктор"])]
    lastname: Annotated[str | None, Meta(description="last name", examples=["Иванов"])]
    email: Annotated[str | None, Meta(description="e-mail address", examples=["user@example.com"])]
    birthday: Annotated[date | None, Meta(description="date of birth", examples=["1980-12-21"])]
    gender: Annotated[Literal["M", "F"] | None, Meta(description="gender", examples=["M"])]
    city_id: Annotated[Count | None, Meta(description="the city's number", examples=[0])]
    last_auth_at: Annotated[Instant | None, Meta(description="the last sign-in", examples=["2023-12-21T04:20:37.024Z"])]
    created_at: Annotated[
        Instant, Meta(description="when the customer came to be", examples=["2023-12-21T04:20:37.024Z"])
    ]
    updated_at: Annotated[Instant, Meta(description="when this change was made", examples=["2026-01-02T03:04:05.678Z"])]
    deleted_at: Annotated[Instant | None, Meta(description="null: the customer is not deleted", examples=[None])]


class CustomerCreated(CustomerEvent):
    """A customer is new. `changed` names every field that has a value."""

    type = "vapteke.customer.created"


class CustomerUpdated(CustomerEvent):
    """Fields of a customer have changed, the phone not."""

    type = "vapteke.customer.updated"


class CustomerPhoneChanged(CustomerEvent):
    """A customer got another phone, or lost the one it had; other fields may have changed too."""

    type = "vapteke.customer.phone_changed"


class CustomerDeleted(CustomerEvent):
    """A customer was deleted: it keeps its fields, and can be restored."""

    type = "vapteke.customer.deleted"


class CustomerRestored(CustomerEvent):
    """A deleted customer is back; its phone may have been lost to another in between."""

    type = "vapteke.customer.restored"


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
LEGACY_CUSTOMERS: tuple[type[Event], ...] = (LegacyCustomerRead, LegacyCustomerRejected)

CUSTOMERS: tuple[type[Event], ...] = (
    CustomerCreated,
    CustomerUpdated,
    CustomerPhoneChanged,
    CustomerDeleted,
    CustomerRestored,
)

MAX_RANGES = 100_000
"""What a plan may name."""

encode = msgspec.json.Encoder().encode
_DECODERS: dict[bytes, msgspec.json.Decoder[Any]] = {
    kind.type.encode(): msgspec.json.Decoder(kind)
    for kind in (*TASKS, *PROGRESS, *STATES, *LEGACY_CUSTOMERS, *CUSTOMERS)
}


def headers(event: Event, source: str, subject: str, at: datetime | None = None) -> Headers:
    """CloudEvents headers of one event; `source` is the service, `subject` what the event is about."""
    return [
        *_common_headers(event.type, source, at or datetime.now(UTC)),
        ("ce_id", _random_uuid()),
        ("ce_subject", subject.encode()),
    ]


@lru_cache(maxsize=16)  # the rows of a range have all of them in common
def _common_headers(kind: str, source: str, at: datetime) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.encode()),
        ("ce_source", source.encode()),
        ("ce_time", at.isoformat().encode()),
        ("content-type", b"application/json"),
    ]


def _random_uuid() -> bytes:
    """As `uuid4().hex`, seven times faster: it has to be unique, not secret."""
    return b"%032x" % (random.getrandbits(128) & _RANDOM_BITS | _VERSION_4)


def decode(value: bytes | None, record_headers: Sequence[tuple[str, bytes]]) -> Event:
    """Raises EventInvalid; its text names the place and the kind of fault, as msgspec does, never the value."""
    decoder = _DECODERS.get(_type(record_headers))
    if decoder is None:
        raise EventInvalid("unknown event type")
    if value is None:
        raise EventInvalid("no value")
    try:
        event: Event = decoder.decode(value)
        if isinstance(event, LegacyCustomerRead):
            phones.split(event.phone)
        return event
    except phones.PhoneInvalid as error:
        raise EventInvalid(f"{error.reason} - at `$.phone`") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventInvalid(_fault(error)) from None


def _type(record_headers: Sequence[tuple[str, bytes]]) -> bytes:
    for name, content in record_headers:  # a loop: this runs for every record
        if name == "ce_type":
            return content
    return b""


def _fault(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "malformed JSON"
    text = str(error)
    if not text.startswith(_BAD_ENUM):
        return text
    return _BAD_ENUM + "".join(text.rpartition(" - at ")[1:])  # what stands between is the value
