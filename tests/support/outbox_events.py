"""The customer events in the outbox."""

import asyncpg
import msgspec
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import CustomerEvent


async def events_in_outbox(pool: asyncpg.Pool) -> list[CustomerEvent]:
    """The customer events in the outbox, in order. Checks that headers and key match each event."""
    rows = await pool.fetch("SELECT * FROM outbox WHERE topic = $1 ORDER BY id", topics.CUSTOMERS.name)
    return [_decoded(row) for row in rows]


def _decoded(row: asyncpg.Record) -> CustomerEvent:
    headers = msgspec.json.decode(row["headers"])
    event = codec.decode(row["value"], [(name, str(content).encode()) for name, content in headers.items()])
    assert isinstance(event, CustomerEvent)
    assert row["key"] == headers["ce_subject"] == str(event.id)
    return event
