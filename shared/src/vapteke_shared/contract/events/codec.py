"""Events as Kafka records: JSON values with CloudEvents 1.0 headers (binary mode)."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from vapteke_shared.contract import phones
from vapteke_shared.contract.events.customers import CUSTOMERS
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import PROGRESS, STATES, TASKS
from vapteke_shared.contract.events.legacy_customers import LEGACY_CUSTOMERS, LegacyCustomerRead

Headers = list[tuple[str, bytes]]

_VERSION_4: Final = UUID(int=0, version=4).int
_RANDOM_BITS: Final = _VERSION_4 ^ UUID(int=2**128 - 1, version=4).int

_BAD_ENUM = "Invalid enum value"


class EventInvalid(ValueError):
    """The record is not a valid event. The text never contains the record's values, so it may be logged."""


encode = msgspec.json.Encoder().encode
_DECODERS: dict[bytes, msgspec.json.Decoder[Any]] = {
    kind.type.encode(): msgspec.json.Decoder(kind)
    for kind in (*TASKS, *PROGRESS, *STATES, *LEGACY_CUSTOMERS, *CUSTOMERS)
}


def headers(event: Event, source: str, subject: str, at: datetime | None = None) -> Headers:
    """CloudEvents headers of one event, with a new random id at each call.

    `source` is the service that sends the event, and `subject` is the key of the record. `at` is the time of the event,
    by default now.
    """
    return [
        *common_headers(event.type, source, at or datetime.now(UTC)),
        ("ce_id", random_uuid()),
        ("ce_subject", subject.encode()),
    ]


@lru_cache(maxsize=16)
def common_headers(kind: str, source: str, at: datetime) -> Headers:
    """The CloudEvents headers that all events of one type, source and time share: all but `ce_id` and `ce_subject`.

    The list is cached, so do not change it.
    """
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.encode()),
        ("ce_source", source.encode()),
        ("ce_time", at.isoformat().encode()),
        ("content-type", b"application/json"),
    ]


def random_uuid() -> bytes:
    """A random UUID as 32 hexadecimal digits in ASCII.

    This is seven times faster than `uuid4().hex`. The result can be predicted, so never use it as a secret.
    """
    return b"%032x" % (random.getrandbits(128) & _RANDOM_BITS | _VERSION_4)


def decode(value: bytes | None, record_headers: Sequence[tuple[str, bytes]]) -> Event:
    """The event in a Kafka record, of the class that the header `ce_type` names, whichever topic the record is from.

    Raises EventInvalid for an unknown type, an invalid value and None: the caller handles records without a value. The
    error's text names the field and the fault, but never the value.
    """
    decoder = _DECODERS.get(_type(record_headers))
    if decoder is None:
        raise EventInvalid("unknown event type")
    if value is None:
        raise EventInvalid("no value")
    try:
        event: Event = decoder.decode(value)
        if isinstance(event, LegacyCustomerRead):
            phones.check(event.phone)
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
    return _BAD_ENUM + "".join(text.rpartition(" - at ")[1:])  # leaves out the value, which stands between the two
