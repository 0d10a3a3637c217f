"""Builds the events of customers and writes them to the outbox (docs/design.md, "The outbox").

Each new version of a customer has one event, which holds the customer's whole state. Write the event in the transaction
of the change. Lock an existing customer's row before you read the state for the event: otherwise the event could hold
an old state, or come after the event of a later version.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import (
    CustomerCreated,
    CustomerDeleted,
    CustomerEvent,
    CustomerPhoneChanged,
    CustomerRestored,
    CustomerUpdated,
)

from customers_api.outbox import messages
from customers_api.outbox.messages import SOURCE, Message, OutboxRow

Kind = Literal["created", "updated", "phone_changed", "deleted", "restored"]
Origin = Literal["api", "import"]

_CLASSES: Final[Mapping[Kind, type[CustomerEvent]]] = {
    "created": CustomerCreated,
    "updated": CustomerUpdated,
    "phone_changed": CustomerPhoneChanged,
    "deleted": CustomerDeleted,
    "restored": CustomerRestored,
}
_STATE: Final = tuple(name for name in CustomerEvent.__struct_fields__ if name not in ("origin", "changed"))
_state_of: Final = itemgetter(*_STATE)
_WRITTEN_INSTANTS: Final = ("created_at", "updated_at", "deleted_at")


class Change(NamedTuple):
    """A change of one customer, for which `add` writes an event.

    `changed` names the event's fields that differ from the previous version. It is empty if the same version is sent
    again.
    """

    customer_id: int
    kind: Kind
    changed: Sequence[str]


def message(kind: Kind, origin: Origin, changed: Sequence[str], customer: Mapping[str, Any]) -> Message:
    """The event of a change, as a message for the outbox.

    `customer` is the customer after the change. It has at least the event's fields, except `origin` and `changed`.
    Nothing is written yet: give the message to `add`, or to `row`.
    """
    return message_of(kind, origin, changed, dict(zip(_STATE, _state_of(customer), strict=True)))


def message_of(kind: Kind, origin: Origin, changed: Sequence[str], state: dict[str, Any]) -> Message:
    """Like `message`, but `state` must have exactly the event's fields, except `origin` and `changed`.

    The instants in `state` are replaced by texts, so the caller must not use `state` afterwards.
    """
    for name in _WRITTEN_INSTANTS:
        state[name] = _written_instant(state[name])
    state["last_auth_at"] = _instant(state["last_auth_at"])
    event = _CLASSES[kind](origin=origin, changed=list(changed), **state)
    key = str(event.id)
    return Message(key, _headers(event.type, state["updated_at"], key), codec.encode(event))


def _instant(at: datetime | None) -> str | None:
    """The instant as text in UTC, always with three decimals; further decimals are cut off. None stays None.

    msgspec would write six decimals, or none if all are zero.
    """
    if at is None:
        return None
    if at.tzinfo is not UTC:  # asyncpg reads infinity, which an earlier release may have stored, without a time zone
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    text: str = msgspec.to_builtins(at)  # ten times faster than isoformat
    return f"{text[:23]}Z" if "." in text else f"{text[:19]}.000Z"


_written_instant: Final = lru_cache(maxsize=16)(_instant)
"""Like `_instant`, for instants that many events of a transaction share."""


def _headers(kind: str, at: str, subject: str) -> dict[str, str]:
    digits = codec.random_uuid().decode()
    return {
        "ce_specversion": "1.0",
        "ce_id": f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}",
        "ce_type": kind,
        "ce_source": SOURCE,
        "ce_time": at,
        "ce_subject": subject,
        "content-type": "application/json",
    }


def row(event: Message) -> OutboxRow:
    """The parameters $1 to $4 of `messages.insert_after`, for the event of a customer.

    Raises NeverSent if the event is too large for Kafka.
    """
    return messages.row(topics.CUSTOMERS.name, event)


async def add(
    connection: asyncpg.Connection, origin: Origin, changes: Sequence[Change], known: Sequence[Message] = ()
) -> None:
    """Write one event for each change into the outbox, in the caller's transaction.

    The state in an event is read now. So lock the customers and write their changes first. `known` are events that the
    caller has already built for other changes; they are written before the new ones. Raises NeverSent.
    """
    events = [*known]
    if changes:
        rows = await connection.fetch(_CURRENT, [change.customer_id for change in changes])
        customers = {row["id"]: row for row in rows}
        events += [message(change.kind, origin, change.changed, customers[change.customer_id]) for change in changes]
    await messages.add(connection, topics.CUSTOMERS.name, events)


STATE = """
SELECT c.*, p.digits AS phone, f.name AS firstname, statement_timestamp() AS now
FROM customers c
LEFT JOIN phones p ON p.id = c.phone_id
LEFT JOIN firstnames f ON f.id = c.firstname_id
"""
"""SQL that reads customers as `message` takes them, with more columns, and the time as `now`. Append a WHERE on `c`.

Rows of `phones` and `firstnames` never change, so they are read without a lock.
"""

_CURRENT = f"{STATE} WHERE c.id = ANY ($1)"
