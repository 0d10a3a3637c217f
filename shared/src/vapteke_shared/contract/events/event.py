"""What every event has: the base class, and the types of fields that several events use."""

from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from vapteke_shared.contract.limits import INT32_MAX, INT64_MAX, INT64_MIN, PHONE_MAX_DIGITS, PHONE_MIN_DIGITS

Int64 = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
Count = Annotated[int, Meta(ge=0, le=INT64_MAX)]
PartitionNumber = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Digits = Annotated[str, Meta(pattern=rf"^[0-9]{{{PHONE_MIN_DIGITS},{PHONE_MAX_DIGITS}}}\Z")]
Instant = Annotated[datetime, Meta(tz=True)]


class Event(msgspec.Struct, kw_only=True):
    """The base class of all events. Unknown fields are ignored: a newer producer may add some."""

    type: ClassVar[str]
    """The header `ce_type` of the event."""
