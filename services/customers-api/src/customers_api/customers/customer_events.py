"""Customer events: every change of a customer writes its whole state to the outbox (docs/design.md, "The outbox").

Events are written in the transaction of the change, after the customer's row was locked: one event per customer and
transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
from customers_api.outbox.messages import SOURCE, Message

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
_INSTANTS: Final = tuple(name for name in _STATE if name.endswith("_at"))


class Change(NamedTuple):
    """A change of one customer. `changed` names the fields that differ from the previous version."""

    customer_id: int
    kind: Kind
    changed: Sequence[str]


def message(kind: Kind, origin: Origin, changed: Sequence[str], customer: Mapping[str, Any]) -> Message:
    """The event of a change as a message for the outbox. `customer` is the state after it, by the event's fields."""
    return message_of(kind, origin, changed, dict(zip(_STATE, _state_of(customer), strict=True)))


def message_of(kind: Kind, origin: Origin, changed: Sequence[str], state: dict[str, Any]) -> Message:
    """Like `message`, for a `state` that has exactly the event's fields and is not used any more."""
    for name in _INSTANTS:
        state[name] = _instant(state[name])
    event = _CLASSES[kind](origin=origin, changed=list(changed), **state)
    key = str(event.id)
    return Message(key, _headers(event.type, state["updated_at"], key), codec.encode(event))


def _instant(at: datetime | None) -> str | None:
    """With three decimals. msgspec would write six, or none."""
    if at is None:
        return None
    text: str = msgspec.to_builtins(at if at.tzinfo is UTC else at.astimezone(UTC))  # ten times faster than isoformat
    return f"{text[:23]}Z" if "." in text else f"{text[:19]}.000Z"


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


def row(event: Message) -> tuple[str, str, str, bytes]:
    """The values of an event for `messages.insert_after`."""
    return messages.row(topics.CUSTOMERS.name, event)


async def add(
    connection: asyncpg.Connection, origin: Origin, changes: Sequence[Change], known: Sequence[Message] = ()
) -> None:
    """Write the events of these changes in the caller's transaction, with the customers' current state.

    `known` are the events of other changes, which are written before them.
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
"""SQL: customers as `message` takes them, and the time. The columns of `phones` and `firstnames` never change."""

_CURRENT = f"{STATE} WHERE c.id = ANY ($1)"
