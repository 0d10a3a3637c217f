"""Decodes the records of both consumers into events."""

from typing import Any, Generic, NamedTuple, TypeVar

from aiokafka import ConsumerRecord
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import PROGRESS
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

LegacyEvent = LegacyCustomerRead | LegacyCustomerRejected
E = TypeVar("E", bound=Event)


class Decoded(NamedTuple, Generic[E]):
    """A record and its event. If `event` is None, whoever applies the record writes a dead letter with `fault` as the
    reason.
    """

    record: ConsumerRecord
    event: E | None
    fault: str = ""


def legacy_customer(record: ConsumerRecord) -> Decoded[LegacyEvent]:
    return _decode(record, (LegacyCustomerRead, LegacyCustomerRejected))


def progress(record: ConsumerRecord) -> Decoded[Event]:
    return _decode(record, PROGRESS)


def rejected_by_database(record: ConsumerRecord) -> Decoded[Any]:
    """The record without its event and with a fault: whoever applies it next writes a dead letter.

    Call this when the database rejects the event's data. The record must be one that could be decoded.
    """
    return Decoded(record, None, f"the database rejects its data: {codec.decode(record.value, record.headers).type}")


def _decode(record: ConsumerRecord, kinds: tuple[type[E], ...]) -> Decoded[E]:
    """Decode the event of a record. The result has a fault if the record is invalid or its event is none of `kinds`."""
    try:
        event = codec.decode(record.value, record.headers)
    except EventInvalid as error:
        return Decoded(record, None, str(error))
    if isinstance(event, kinds):
        return Decoded(record, event)
    return Decoded(record, None, f"this event does not belong to this topic: {event.type}")
