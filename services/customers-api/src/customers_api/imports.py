"""Imports as jobs: customers-api leads, the importers work (design, section 4).

Every function works in the caller's transaction. `imports` is locked before anything that hangs on its status.
"""

from collections.abc import Collection
from uuid import UUID, uuid4

import asyncpg
import msgspec
from prometheus_client import Counter
from vapteke_shared import logs, topics
from vapteke_shared.events import (
    AttemptFailed,
    Failed,
    Planned,
    PlanRequested,
    PlanStarted,
    RangePublished,
    RangeRequested,
)
from vapteke_shared.problems import ProblemError

from customers_api import import_lists, import_warnings, outbox
from customers_api.models import ALIVE

log = logs.get(__name__)
verdicts = Counter("vapteke_import_verdicts", "Imports that have ended", ["status"])


class ImportEnded(ProblemError):
    def __init__(self) -> None:
        super().__init__(409, "import_ended", "The import has ended already; finished_at says when.")


async def request(connection: asyncpg.Connection, rows_per_range: int) -> tuple[asyncpg.Record, bool]:
    """Start an import, or join the one that is alive: the job, and whether it is new. Safe to repeat."""
    while True:
        job = await connection.fetchrow(_REQUEST, uuid4())
        if job is not None:
            event = PlanRequested(import_id=job["id"], rows_per_range=rows_per_range)
            await outbox.add(connection, topics.IMPORT_TASKS.name, [outbox.message(str(job["id"]), event)])
            return job, True
        job = await import_lists.find_alive(connection)
        if job is not None:
            return job, False
        # it has ended in between: then this one starts


async def lock_alive(connection: asyncpg.Connection, import_ids: Collection[UUID]) -> set[UUID]:
    """Which of them are alive; they stay so until the transaction's end, but may be cancelled meanwhile."""
    rows = await connection.fetch(_LOCK_ALIVE, list(import_ids), ALIVE)
    return {row["id"] for row in rows}


async def cancel(connection: asyncpg.Connection, import_id: UUID) -> None:
    """Ask for no more ranges; the sweeper ends the import when what is in flight has come. Safe to repeat.

    Raises ImportEnded.
    """
    if await connection.fetchval(_CANCEL, import_id) in ("completed", "failed"):
        raise ImportEnded


async def plan_started(connection: asyncpg.Connection, event: PlanStarted) -> None:
    await connection.execute(_PLAN_STARTED, event.import_id)


async def planned(connection: asyncpg.Connection, event: Planned, in_flight: int) -> None:
    """Store the first plan that arrives and ask for the first ranges; others are ignored."""
    ahead = import_warnings.seconds_ahead(event)
    warnings = import_warnings.of_plan(event, await connection.fetchval(_LAST_AHEAD))
    stored = await connection.fetchval(_PLANNED, event.import_id, event.row_count, warnings, ahead)
    if stored is None:
        return
    bounds = event.upper_bounds
    lower: list[int | None] = [None, *bounds[:-1]]
    await connection.execute(_ADD_CHUNKS, event.import_id, list(range(len(bounds))), lower[: len(bounds)], bounds)
    await ask_for_ranges(connection, event.import_id, in_flight)


async def range_published(connection: asyncpg.Connection, event: RangePublished, in_flight: int) -> None:
    """The first attempt that is published wins; then the next range is asked for."""
    await connection.execute(_LOCK, event.import_id)
    offsets = msgspec.json.encode(event.last_offsets).decode()
    won = await connection.fetchval(_PUBLISHED, event.import_id, event.chunk, event.attempt, event.event_count, offsets)
    if won is not None:
        await ask_for_ranges(connection, event.import_id, in_flight)


async def attempt_failed(connection: asyncpg.Connection, event: AttemptFailed) -> None:
    """The job says so until the plan is made, or the range is published or has failed."""
    told = [event.import_id, event.attempt, event.attempts, event.error, event.retry_seconds]
    if event.chunk is None:
        await connection.execute(_PLAN_ATTEMPT_FAILED, *told)
    else:
        await connection.execute(_RANGE_ATTEMPT_FAILED, *told, event.chunk)


async def failed(connection: asyncpg.Connection, event: Failed) -> None:
    """A plan that failed ends the import; a range that failed dooms it: what is in flight may still end."""
    if event.chunk is None:
        if await connection.fetchval(_PLAN_FAILED, event.import_id, event.error) is not None:
            verdicts.labels("failed").inc()
            log.info("the plan has failed", import_id=str(event.import_id), error=event.error)
    elif await connection.fetchval(_DOOM, event.import_id, event.error, event.chunk) is not None:
        await connection.execute(_RANGE_FAILED, event.import_id, event.chunk)


async def fail(connection: asyncpg.Connection, error: str) -> UUID | None:
    """Fail the import that is alive, if there is one, and return its id."""
    await connection.execute("SELECT FROM imports WHERE status = ANY($1) FOR UPDATE", ALIVE)
    return await connection.fetchval(_FAIL_ALIVE, error, ALIVE)  # type: ignore[no-any-return]


async def ask_for_ranges(connection: asyncpg.Connection, import_id: UUID, in_flight: int) -> None:
    """Fill the window of ranges in flight; a doomed import gets no more."""
    chunks = await connection.fetch(_NEXT_RANGES, import_id, in_flight)
    tasks = [
        outbox.message(
            f"{import_id}/{c['chunk']}",
            RangeRequested(import_id=import_id, chunk=c["chunk"], after_id=c["after_id"], upto_id=c["upto_id"]),
        )
        for c in sorted(chunks, key=lambda c: c["chunk"])
    ]
    if tasks:
        await outbox.add(connection, topics.IMPORT_TASKS.name, tasks)


_REQUEST = """
INSERT INTO imports AS i (id, status) VALUES ($1, 'requested')
ON CONFLICT ((true)) WHERE status IN ('requested', 'planning', 'running') DO NOTHING
RETURNING *
"""

# The end locks the row FOR UPDATE and waits for the batches. A cancel does not: it might wait for ever.
_LOCK_ALIVE = "SELECT id FROM imports WHERE id = ANY($1) AND status = ANY($2) ORDER BY id FOR KEY SHARE"
_LOCK = "SELECT FROM imports WHERE id = $1 FOR SHARE"

_CANCEL = """
WITH cancelled AS (
    UPDATE imports SET cancelled_at = coalesce(cancelled_at, now())
    WHERE id = $1 AND status IN ('requested', 'planning', 'running') RETURNING id
)
SELECT status FROM imports WHERE id = $1 AND NOT EXISTS (SELECT FROM cancelled)
"""

_PLAN_STARTED = """
UPDATE imports SET status = 'planning', started_at = coalesce(started_at, now()) WHERE id = $1 AND status = 'requested'
"""

_PLANNED = """
UPDATE imports SET
    status = 'running', planned_rows = $2, warnings = $3, source_ahead_seconds = $4,
    attempt_failed = NULL, started_at = coalesce(started_at, now())
WHERE id = $1 AND status IN ('requested', 'planning') RETURNING id
"""

_LAST_AHEAD = """
SELECT source_ahead_seconds FROM imports WHERE source_ahead_seconds IS NOT NULL
ORDER BY requested_at DESC, id LIMIT 1
"""

_ADD_CHUNKS = """
INSERT INTO import_chunks (import_id, chunk, after_id, upto_id, status)
SELECT $1, chunk, after_id, upto_id, 'planned'
FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS c (chunk, after_id, upto_id)
"""

_NEXT_RANGES = """
UPDATE import_chunks SET status = 'requested', moved_at = now()
WHERE import_id = $1 AND chunk IN (
    SELECT chunk FROM import_chunks c JOIN imports i ON i.id = c.import_id
    WHERE c.import_id = $1 AND c.status = 'planned' AND i.status = 'running'
        AND i.error IS NULL AND i.cancelled_at IS NULL
    ORDER BY chunk
    LIMIT greatest($2 - (SELECT count(*) FROM import_chunks WHERE import_id = $1 AND status = 'requested'), 0)
)
RETURNING chunk, after_id, upto_id
"""

_PUBLISHED = """
UPDATE import_chunks SET status = 'published', attempt = $3, event_count = $4, last_offsets = $5, moved_at = now()
WHERE import_id = $1 AND chunk = $2 AND status = 'requested'
    AND EXISTS (SELECT FROM imports WHERE id = $1 AND status = 'running')
RETURNING chunk
"""

_FACTS = """jsonb_build_object(
    'attempt', $2::int, 'attempts', $3::int, 'error', $4::text, 'retry_at', now() + $5 * interval '1 second'
)"""
_PLAN_ATTEMPT_FAILED = f"""
UPDATE imports SET attempt_failed = {_FACTS} WHERE id = $1 AND status IN ('requested', 'planning')
"""
_RANGE_ATTEMPT_FAILED = f"""
UPDATE import_chunks SET attempt_failed = {_FACTS} WHERE import_id = $1 AND chunk = $6 AND status = 'requested'
"""
_RANGE_FAILED = """
UPDATE import_chunks SET status = 'failed' WHERE import_id = $1 AND chunk = $2
"""
_DOOM = """
UPDATE imports i SET error = coalesce(error, $2)
FROM import_chunks c
WHERE i.id = $1 AND i.status = 'running' AND c.import_id = i.id AND c.chunk = $3 AND c.status = 'requested'
RETURNING i.id
"""
_PLAN_FAILED = """
UPDATE imports SET status = 'failed', error = $2, started_at = coalesce(started_at, now()), finished_at = now()
WHERE id = $1 AND status IN ('requested', 'planning') RETURNING id
"""
_FAIL_ALIVE = """
UPDATE imports i SET
    status = 'failed', error = $1, finished_at = now(), created = n.created, updated = n.updated,
    unchanged = n.unchanged, skipped = n.skipped, rejected = n.rejected,
    read = n.created + n.updated + n.unchanged + n.skipped + n.rejected
FROM (
    SELECT
        coalesce(sum(n.created), 0)::bigint AS created, coalesce(sum(n.updated), 0)::bigint AS updated,
        coalesce(sum(n.unchanged), 0)::bigint AS unchanged, coalesce(sum(n.skipped), 0)::bigint AS skipped,
        coalesce(sum(n.rejected), 0)::bigint AS rejected
    FROM imports a JOIN import_chunks c ON c.import_id = a.id
    JOIN import_counts n ON (n.import_id, n.chunk, n.attempt) = (c.import_id, c.chunk, c.attempt)
    WHERE a.status = ANY($2)
) AS n
WHERE i.status = ANY($2) RETURNING i.id
"""
