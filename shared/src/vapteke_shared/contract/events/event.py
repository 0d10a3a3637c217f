"""What every event has: the base class, and the types of fields that several events use."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from vapteke_shared.contract.limits import (
    FIELD_NAME_CHARACTERS,
    INT32_MAX,
    INT64_MAX,
    INT64_MIN,
    PHONE_MAX_DIGITS,
    PHONE_MIN_DIGITS,
)

KNOWN_NAMES: Final = "x-extensible-enum"
"""The word of a JSON Schema for an open list of names: those known today. Consumers accept and ignore other names."""

Int64 = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
Count = Annotated[int, Meta(ge=0, le=INT64_MAX)]
PartitionNumber = Annotated[int, Meta(ge=0, le=INT32_MAX)]
DIGITS: Final = rf"^[0-9]{{{PHONE_MIN_DIGITS},{PHONE_MAX_DIGITS}}}\Z"
Digits = Annotated[str, Meta(pattern=DIGITS)]
Instant = Annotated[datetime, Meta(tz=True)]


def field_name(known: Iterable[str]) -> Meta:
    """The annotation for a value that names a field: one of `known`, or a name from a newer producer.

    So decoding accepts any name in lower case; the JSON Schema lists `known` (docs/events.md, "Rules").
    """
    pattern = rf"^[a-z][a-z0-9_]{{0,{FIELD_NAME_CHARACTERS - 1}}}\Z"
    return Meta(pattern=pattern, extra_json_schema={KNOWN_NAMES: sorted(known)})


class Event(msgspec.Struct, kw_only=True):
    """The base class of all events. Decoding ignores unknown fields: a newer producer may add some.

    A subclass for records sets `type`, and is added to its module's tuple of events, such as `imports.TASKS`. Otherwise
    `codec.decode` does not know the type.
    """

    type: ClassVar[str]
    """The header `ce_type` of the event."""
