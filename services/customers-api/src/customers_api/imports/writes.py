"""Imports as jobs: customers-api leads, the importers work (docs/design.md, "The import, step by step").

Every function works in the caller's transaction. `imports` is locked before anything that hangs on its status.
"""

from collections.abc import Collection
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
import msgspec
from prometheus_client import Counter
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.imports import (
    AttemptFailed,
    Failed,
    ImportState,
    Planned,
    PlanRequested,
    PlanStarted,
    RangePublished,
    RangeRequested,
)
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.process import logs

from customers_api.imports import admissions, plan_warnings, queries
from customers_api.imports.admissions import Range
from customers_api.imports.tables import ALIVE
from customers_api.outbox import messages

log = logs.get(__name__)
verdicts = Counter("vapteke_import_verdicts", "Imports that have ended", ["status"])
_VERDICT = ("read", "created", "updated", "unchanged", "skipped", "rejected", "repaired", "error")


class ImportEnded(ProblemError):
    def __init__(self) -> None:
        super().__init__(409, "import_ended", "The import has ended already; finished_at says when.")


async def request(connection: asyncpg.Connection, rows_per_range: int) -> tuple[asyncpg.Record, bool]:
    """Start an import, or join the one that is alive: the job, and whether it is new. Safe to repeat."""
    while True:
        job = await connection.fetchrow(_REQUEST, uuid4())
        if job is not None:
            await say_state(connection, job)
            event = PlanRequested(import_id=job["id"], rows_per_range=rows_per_range, number=job["plan_number"])
            await messages.add(connection, topics.IMPORT_TASKS.name, [messages.message(str(job["id"]), event)])
            return job, True
        job = await queries.find_alive(connection)
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


Refusal = str | None
"""Why an event has changed nothing, as a word; None: it has changed something."""
Outcome: TypeAlias = Refusal | asyncpg.Record
"""The same; or the import that the event has ended, for `tell_verdict`."""


async def plan_started(connection: asyncpg.Connection, event: PlanStarted) -> Refusal:
    return _refused_unless(await connection.fetchval(_PLAN_STARTED, event.import_id, event.number))


async def planned(connection: asyncpg.Connection, event: Planned, in_flight: int) -> Refusal:
    """Store the first plan that arrives and ask for the first ranges; others are ignored."""
    if fault := admissions.fault_of_plan(event):
        return _senseless(event, fault)
    ahead = plan_warnings.seconds_ahead(event)
    warnings = plan_warnings.of_plan(event, await connection.fetchval(_LAST_AHEAD))
    stored = await connection.fetchrow(_PLANNED, event.import_id, event.row_count, warnings, ahead, event.number)
    if stored is None:
        return _refused_unless(stored)
    await say_state(connection, stored)
    bounds = event.upper_bounds
    lower: list[int | None] = [None, *bounds[:-1]]
    await connection.execute(_ADD_CHUNKS, event.import_id, list(range(len(bounds))), lower[: len(bounds)], bounds)
    await ask_for_ranges(connection, event.import_id, in_flight)
    return None


async def range_published(connection: asyncpg.Connection, event: RangePublished, in_flight: int) -> Refusal:
    """The first attempt that is published wins; then the next range is asked for."""
    await connection.execute(_LOCK, event.import_id)
    if fault := await _fault_of_publication(connection, event):
        return _senseless(event, fault)
    offsets = msgspec.json.encode(event.last_offsets).decode()
    won = await connection.fetchval(
        _PUBLISHED, event.import_id, event.chunk, event.attempt, event.event_count, offsets, event.number
    )
    if won is not None:
        await ask_for_ranges(connection, event.import_id, in_flight)
    return _refused_unless(won)


async def _fault_of_publication(connection: asyncpg.Connection, event: RangePublished) -> str | None:
    row = await connection.fetchrow(_RANGE, event.import_id, event.chunk)
    return None if row is None else admissions.fault_of_publication(event, Range(*row))


async def attempt_failed(connection: asyncpg.Connection, event: AttemptFailed) -> Refusal:
    """The job says so until the plan is made, or the range is published or has failed."""
    told = [event.import_id, event.attempt, event.attempts, event.error, event.retry_seconds, event.number]
    if event.chunk is None:
        return _refused_unless(await connection.fetchval(_PLAN_ATTEMPT_FAILED, *told))
    return _refused_unless(await connection.fetchval(_RANGE_ATTEMPT_FAILED, *told, event.chunk))


async def failed(connection: asyncpg.Connection, event: Failed) -> Outcome:
    """A plan that failed ends the import; a range that failed dooms it: what is in flight may still end."""
    if event.chunk is None:
        ended = await connection.fetchrow(_PLAN_FAILED, event.import_id, event.error, event.number)
        if ended is not None:
            await say_state(connection, ended)
        return ended or _refused_unless(ended)
    doomed = await connection.fetchval(_DOOM, event.import_id, event.error, event.chunk, event.number)
    if doomed is not None:
        await connection.execute(_RANGE_FAILED, event.import_id, event.chunk)
    return _refused_unless(doomed)


def _refused_unless(changed: object) -> Refusal:
    return "not_current" if changed is None else None


def _senseless(event: Planned | RangePublished, fault: str) -> Refusal:
    log.warning("a senseless event is ignored", import_id=str(event.import_id), type=event.type, fault=fault)
    return "senseless"


async def say_state(connection: asyncpg.Connection, job: asyncpg.Record) -> None:
    """Before the tasks that this state allows: importers do those of the import that is alive alone."""
    event = ImportState(import_id=job["id"], status=job["status"], read=job["read"], error=job["error"])
    await messages.add(connection, topics.IMPORT_STATE.name, [messages.message(str(job["id"]), event)])


def tell_verdict(job: asyncpg.Record) -> None:
    """Count and log how an import has ended, once that is committed."""
    verdicts.labels(job["status"]).inc()
    fields = {"import_id": str(job["id"])} | {name: job[name] for name in _VERDICT if job[name] is not None}
    if job["status"] == "failed":
        log.error("import failed", **fields)
    else:
        log.info(f"import {job['status']}", **fields)


async def fail(connection: asyncpg.Connection, error: str) -> asyncpg.Record | None:
    """Fail the import that is alive, if there is one, and return it for `tell_verdict`."""
    await connection.execute("SELECT FROM imports WHERE status = ANY($1) FOR UPDATE", ALIVE)
    job = await connection.fetchrow(_FAIL_ALIVE, error, ALIVE)
    if job is not None:
        await say_state(connection, job)
    return job


async def ask_for_ranges(connection: asyncpg.Connection, import_id: UUID, in_flight: int) -> None:
    """Fill the window of ranges in flight; a doomed import gets no more."""
    chunks = await connection.fetch(_NEXT_RANGES, import_id, in_flight)
    tasks = [
        messages.message(
            f"{import_id}/{c['chunk']}",
            RangeRequested(
                import_id=import_id, chunk=c["chunk"], after_id=c["after_id"], upto_id=c["upto_id"], number=c["number"]
            ),
        )
        for c in sorted(chunks, key=lambda c: c["chunk"])
    ]
    if tasks:
        unnumbered = await connection.fetchrow(_UNNUMBERED, import_id)
        if unnumbered is not None:
            await say_state(connection, unnumbered)
        await messages.add(connection, topics.IMPORT_TASKS.name, tasks)


_REQUEST = """
INSERT INTO imports AS i (id, status, plan_number) VALUES ($1, 'requested', nextval('hand_out_numbers'))
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
    AND ($2::bigint IS NULL OR plan_number = $2) RETURNING id
"""

_PLANNED = """
UPDATE imports SET
    status = 'running', planned_rows = $2, warnings = $3, source_ahead_seconds = $4,
    attempt_failed = NULL, started_at = coalesce(started_at, now())
WHERE id = $1 AND status IN ('requested', 'planning') AND ($5::bigint IS NULL OR plan_number = $5) RETURNING *
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
UPDATE import_chunks SET status = 'requested', number = nextval('hand_out_numbers'), moved_at = now()
WHERE import_id = $1 AND chunk IN (
    SELECT chunk FROM import_chunks c JOIN imports i ON i.id = c.import_id
    WHERE c.import_id = $1 AND c.status = 'planned' AND i.status = 'running'
        AND i.error IS NULL AND i.cancelled_at IS NULL
    ORDER BY chunk
    LIMIT greatest($2 - (SELECT count(*) FROM import_chunks WHERE import_id = $1 AND status = 'requested'), 0)
)
RETURNING chunk, after_id, upto_id, number
"""

# Requested, and perhaps planned, by processes of the release before: they send no states.
_UNNUMBERED = "SELECT * FROM imports WHERE id = $1 AND plan_number IS NULL"

_RANGE = "SELECT number, after_id, upto_id FROM import_chunks WHERE import_id = $1 AND chunk = $2"

_PUBLISHED = """
UPDATE import_chunks SET status = 'published', attempt = $3, event_count = $4, last_offsets = $5, moved_at = now()
WHERE import_id = $1 AND chunk = $2 AND status = 'requested' AND ($6::bigint IS NULL OR number = $6)
    AND EXISTS (SELECT FROM imports WHERE id = $1 AND status = 'running')
RETURNING chunk
"""

_FACTS = """jsonb_build_object(
    'attempt', $2::int, 'attempts', $3::int, 'error', $4::text, 'retry_at', now() + $5 * interval '1 second'
)"""
_PLAN_ATTEMPT_FAILED = f"""
UPDATE imports SET attempt_failed = {_FACTS}
WHERE id = $1 AND status IN ('requested', 'planning') AND ($6::bigint IS NULL OR plan_number = $6) RETURNING id
"""
_RANGE_ATTEMPT_FAILED = f"""
UPDATE import_chunks SET attempt_failed = {_FACTS}
WHERE import_id = $1 AND chunk = $7 AND status = 'requested' AND ($6::bigint IS NULL OR number = $6) RETURNING chunk
"""
_RANGE_FAILED = """
UPDATE import_chunks SET status = 'failed' WHERE import_id = $1 AND chunk = $2
"""
_DOOM = """
UPDATE imports i SET error = coalesce(error, $2)
FROM import_chunks c
WHERE i.id = $1 AND i.status = 'running' AND c.import_id = i.id AND c.chunk = $3 AND c.status = 'requested'
    AND ($4::bigint IS NULL OR c.number = $4)
RETURNING i.id
"""
_PLAN_FAILED = """
UPDATE imports SET status = 'failed', error = $2, started_at = coalesce(started_at, now()), finished_at = now()
WHERE id = $1 AND status IN ('requested', 'planning') AND ($3::bigint IS NULL OR plan_number = $3) RETURNING *
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
WHERE i.status = ANY($2) RETURNING i.*
"""
