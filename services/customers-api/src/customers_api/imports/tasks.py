"""Hands out key ranges and single rows to the importers, as tasks with dispatch numbers."""

from uuid import UUID

import asyncpg
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.imports import RangeRequested, RowsRequested

from customers_api.imports.writes import publish_state
from customers_api.outbox import messages


async def request_ranges(connection: asyncpg.Connection, import_id: UUID, in_flight: int) -> None:
    """Request key ranges until `in_flight` are in flight. Each gets a new dispatch number, and a task in the outbox.

    A range of an import of kind `rows` is up to 100 single rows. Requests none if the import is not running, is
    cancelled or has an error. The caller's transaction must have locked the import's row.
    """
    chunks = await connection.fetch(_NEXT_RANGES, import_id, in_flight)
    if not chunks:
        return
    unnumbered = await connection.fetchrow(_UNNUMBERED, import_id)
    if unnumbered is not None:
        await publish_state(connection, unnumbered)
    tasks = [_task(import_id, chunk) for chunk in sorted(chunks, key=lambda c: c["chunk"])]
    await messages.add(connection, topics.IMPORT_TASKS.name, tasks)


def _task(import_id: UUID, chunk: asyncpg.Record) -> messages.Message:
    is_range = chunk["legacy_ids"] is None
    kind, named = (RangeRequested, ("after_id", "upto_id")) if is_range else (RowsRequested, ("legacy_ids",))
    facts = {name: chunk[name] for name in ("chunk", "number", *named)}
    return messages.message(f"{import_id}/{chunk['chunk']}", kind(import_id=import_id, **facts))


_NEXT_RANGES = """
UPDATE import_chunks SET status = 'requested', number = nextval('hand_out_numbers'), moved_at = now()
WHERE import_id = $1 AND chunk IN (
    SELECT chunk FROM import_chunks c JOIN imports i ON i.id = c.import_id
    WHERE c.import_id = $1 AND c.status = 'planned' AND i.status IN ('running', 'reading')
        AND i.error IS NULL AND i.cancelled_at IS NULL
    ORDER BY chunk
    LIMIT greatest($2 - (SELECT count(*) FROM import_chunks WHERE import_id = $1 AND status = 'requested'), 0)
)
RETURNING chunk, after_id, upto_id, number, (
    SELECT array_agg(r.legacy_id ORDER BY r.legacy_id) FROM import_rows r
    WHERE (r.import_id, r.chunk) = (import_chunks.import_id, import_chunks.chunk)
) AS legacy_ids
"""

# Requested, and perhaps planned, by processes of the previous release, which send no states.
_UNNUMBERED = "SELECT * FROM imports WHERE id = $1 AND plan_number IS NULL"
