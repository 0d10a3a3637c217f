"""Writes to import jobs: start, cancel and end them, and send their state to the importers."""

from collections.abc import Mapping
from uuid import UUID, uuid4

import asyncpg
import msgspec
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.imports import ImportState, PlanRequested
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.imports import differences, gone_rows, queries, stored_ranges
from customers_api.imports.fields import TableKind
from customers_api.imports.gone_rows import Deletions, Gone
from customers_api.imports.state import CLASSES
from customers_api.imports.tables import IN_TURN, UNFINISHED
from customers_api.outbox import messages


class ImportEnded(ProblemError):
    def __init__(self) -> None:
        super().__init__(409, "import_ended", "The import has already ended; finished_at says when.")


@retry_conflicts
async def start(
    connection: asyncpg.Connection, rows_per_range: int, *, kind: TableKind = "full", requested_by: str | None = None
) -> tuple[asyncpg.Record, bool]:
    """Start an import, or join the unfinished one of this kind. Safe to repeat. Returns what `request` returns."""
    async with connection.transaction():
        return await request(connection, rows_per_range, kind=kind, requested_by=requested_by)


async def request(
    connection: asyncpg.Connection,
    rows_per_range: int,
    *,
    kind: TableKind,
    requested_by: str | None,
    by_schedule: bool = False,
) -> tuple[asyncpg.Record, bool]:
    """Start an import, or join the unfinished one of this kind, in the caller's transaction.

    While another kind is unfinished or waits, a new import waits for its turn, and the sweeper starts it. Returns the
    import's `id` and `status`, and whether it is new. The status of one that waits is `requested`, as callers see it.

    An import that was requested only `by_schedule` may be folded into another when it has ended (`folding.py`). Any
    other keeps its job, because its caller has the id. Safe to repeat.
    """
    while True:
        job = await connection.fetchrow(_START, uuid4(), kind, requested_by, by_schedule)
        if job is not None:
            await _request_plan(connection, job, rows_per_range)
            return job, True
        job = await connection.fetchrow(_JOIN, kind)
        if job is not None and (by_schedule or not job["only_scheduled"]):
            return job, False
        if job is not None and await connection.fetchval(_NOTE_CALLER, job["id"]):
            return job, False
        job = await connection.fetchrow(_WAIT, uuid4(), kind, requested_by, by_schedule)
        if job is not None:
            return job, True
        # the import to join has just ended, or another caller has just started one: retry


@retry_conflicts
async def start_waiting(connection: asyncpg.Connection, rows_per_range: int) -> asyncpg.Record | None:
    """Start the import that has waited longest, if none is unfinished. Returns it; None if none waits or one runs."""
    async with connection.transaction():
        job = await connection.fetchrow(_START_WAITING, IN_TURN)
        if job is not None:
            await _request_plan(connection, job, rows_per_range)
        return job


async def _request_plan(connection: asyncpg.Connection, job: asyncpg.Record, rows_per_range: int) -> None:
    """Send the task. For an import of changes, it names the stored ranges; if it cannot, the import becomes full."""
    await publish_state(connection, job)
    event = PlanRequested(import_id=job["id"], rows_per_range=rows_per_range, number=job["plan_number"])
    if job["kind"] == "changes":
        stored = await stored_ranges.find(connection)
        if stored is not None:
            event = msgspec.structs.replace(event, **stored._asdict())
        if stored is None or len(codec.encode(event)) > limits.RECORD_BYTES:
            event = msgspec.structs.replace(event, stored_bounds=None, stored_fingerprints=None, basis=None)
            why = "no key ranges are stored" if stored is None else "more key ranges are stored than a task can name"
            await connection.execute(_MAKE_FULL, job["id"], why)
    await messages.add(connection, topics.IMPORT_TASKS.name, [messages.message(str(job["id"]), event)])


@retry_conflicts
async def cancel(connection: asyncpg.Connection, import_id: UUID) -> bool:
    """Mark the import as cancelled: no more ranges are requested, and the sweeper ends it after the ranges in flight.

    Returns False if there is no such import. Raises ImportEnded if it is completed or failed. Safe to repeat: a second
    call changes nothing, also after the import has ended as `cancelled`.
    """
    status = await connection.fetchval(_CANCEL, import_id)
    if status in ("completed", "failed"):
        raise ImportEnded
    return status is not None


@retry_conflicts
async def end(
    connection: asyncpg.Connection,
    import_id: UUID,
    status: str,
    error: str | None,
    counts: Mapping[str, int],
    deletions: Deletions,
) -> asyncpg.Record | None:
    """End the import with this verdict and these counts by class, and send its state to the importers.

    Adds the phone conflicts of a completed import to its rejections, and marks the rows that are gone. Returns the
    import's row, which the caller must report (`outcomes.report_verdict`). Returns None, and writes nothing, if the
    import had already ended.
    """
    async with connection.transaction():
        if not await connection.fetchval(_LOCK_FOR_END, import_id, UNFINISHED):
            return None
        gone = Gone(0)
        if status == "completed":  # only an import that has read everything it planned can tell what is missing
            gone = await _completed(connection, import_id, deletions)
        job = await connection.fetchrow(
            _END, import_id, status, error, *(counts[name] for name in CLASSES), gone.rows, gone.warnings, _TOO_LATE
        )
        await publish_state(connection, job)
        return job


async def _completed(connection: asyncpg.Connection, import_id: UUID, deletions: Deletions) -> Gone:
    kind = await connection.fetchval("SELECT kind FROM imports WHERE id = $1", import_id)
    if kind == "compare":
        await differences.complete(connection, import_id)
        return Gone(0)
    await connection.execute(_ADD_PHONE_CONFLICTS, import_id)
    if kind == "rows":
        return Gone(0)
    await stored_ranges.keep(connection, import_id)  # first: from now on, no import of single rows starts
    return await gone_rows.mark(connection, import_id, deletions)


async def fail_unfinished(connection: asyncpg.Connection, error: str) -> list[asyncpg.Record]:
    """Fail all unfinished imports in the caller's transaction, and send their states to the importers.

    Returns their rows, which the caller must report after the commit (`outcomes.report_verdict`).
    """
    locked = await connection.fetch(_LOCK_ALL_UNFINISHED, UNFINISHED)
    jobs = [await connection.fetchrow(_FAIL, row["id"], error) for row in locked]
    for job in jobs:
        await publish_state(connection, job)
    return jobs


async def lock_unfinished(connection: asyncpg.Connection, import_id: UUID) -> bool:
    """Lock the import if it is unfinished, and return whether it is.

    A locked import cannot end before the caller's transaction does. A cancel does not wait for this lock.
    """
    return await connection.fetchval(_LOCK_UNFINISHED, import_id, UNFINISHED) is not None


async def publish_state(connection: asyncpg.Connection, job: asyncpg.Record) -> None:
    """Write the import's state to the outbox, for the importers, in the caller's transaction. `job` is its whole row.

    Call it before sending tasks that the new state allows: importers do only the tasks of the import that was announced
    last. An import of kind `rows` has no state: it runs beside that import.
    """
    if job["kind"] == "rows":
        return
    event = ImportState(import_id=job["id"], status=job["status"], read=job["read"], error=job["error"])
    await messages.add(connection, topics.IMPORT_STATE.name, [messages.message(str(job["id"]), event)])


_START = """
INSERT INTO imports AS i (id, kind, requested_by, only_scheduled, status, plan_number)
SELECT $1, $2, $3, $4, 'requested', nextval('hand_out_numbers')
WHERE NOT EXISTS (SELECT FROM imports WHERE status = 'waiting')
ON CONFLICT ((true)) WHERE status IN ('requested', 'planning', 'running') DO NOTHING
RETURNING *
"""

_JOIN = f"""
SELECT i.id, {queries.STATUS} AS status, i.only_scheduled FROM imports i
WHERE i.kind = $1 AND i.status IN ('waiting', 'requested', 'planning', 'running')
ORDER BY i.status = 'waiting' LIMIT 1
"""

# None if it has ended meanwhile, and is perhaps folded.
_NOTE_CALLER = "UPDATE imports SET only_scheduled = false WHERE id = $1 AND finished_at IS NULL RETURNING true"

_WAIT = """
INSERT INTO imports (id, kind, requested_by, only_scheduled, status)
SELECT $1, $2, $3, $4, 'waiting'
WHERE EXISTS (SELECT FROM imports WHERE status IN ('waiting', 'requested', 'planning', 'running'))
ON CONFLICT (kind) WHERE status = 'waiting' DO NOTHING
RETURNING id, 'requested' AS status
"""

_START_WAITING = """
UPDATE imports SET status = 'requested', plan_number = nextval('hand_out_numbers')
WHERE id = (SELECT id FROM imports WHERE status = 'waiting' ORDER BY requested_at, id LIMIT 1)
    AND status = 'waiting' AND NOT EXISTS (SELECT FROM imports WHERE status = ANY($1))
RETURNING *
"""

_MAKE_FULL = "UPDATE imports SET kind = 'full', full_because = $2 WHERE id = $1"

# `end` locks the row FOR UPDATE and waits for the batches. A cancel takes no such lock: it might wait for ever.
_LOCK_UNFINISHED = "SELECT id FROM imports WHERE id = $1 AND status = ANY($2) FOR KEY SHARE"

_CANCEL = """
WITH cancelled AS (
    UPDATE imports SET
        cancelled_at = coalesce(cancelled_at, now()),
        status = CASE status WHEN 'waiting' THEN 'cancelled' ELSE status END,
        finished_at = CASE status WHEN 'waiting' THEN now() END
    WHERE id = $1 AND status IN ('waiting', 'requested', 'planning', 'running', 'reading')
)
SELECT status FROM imports WHERE id = $1
"""

_LOCK_FOR_END = "SELECT id FROM imports WHERE id = $1 AND status = ANY($2) FOR UPDATE"

# Active linked customers without a phone whose row was read and not rejected, and who holds the phone that it names.
# NOT IN reads the rejections once; NOT EXISTS would read them for each of these customers.
_ADD_PHONE_CONFLICTS = """
INSERT INTO import_rejections (
    import_id, legacy_id, kind, field, reason, customer_id, other_customer_id, other_legacy_id
)
SELECT $1, m.legacy_id, 'phone_conflict', 'phone', 'held_by_another', c.id, h.id, hm.legacy_id
FROM customers c
JOIN legacy_customers m ON m.customer_id = c.id
LEFT JOIN customers h ON h.phone_id = m.phone_id AND h.deleted_at IS NULL
LEFT JOIN legacy_customers hm ON hm.customer_id = h.id
WHERE c.deleted_at IS NULL AND c.phone_id IS NULL AND m.phone_id IS NOT NULL AND m.legacy_id IN (
    SELECT unnest(r.legacy_ids) FROM import_readings r
    JOIN import_chunks w ON (w.import_id, w.chunk, w.attempt) = (r.import_id, r.chunk, r.attempt)
    WHERE r.import_id = $1
) AND m.legacy_id NOT IN (
    SELECT r.legacy_id FROM import_rejections r
    JOIN import_chunks w ON (w.import_id, w.chunk, w.attempt) = (r.import_id, r.chunk, r.attempt)
    WHERE r.import_id = $1 AND r.kind = 'row'
)
ORDER BY m.legacy_id
"""

_TOO_LATE = "the import was cancelled, but it has completed: all of its key ranges were being read already"

_END = """
UPDATE imports SET
    status = $2, error = $3, finished_at = now(), started_at = coalesce(started_at, now()),
    gone = $9, warnings = warnings || $10::text[] || CASE
        WHEN $2 = 'completed' AND cancelled_at IS NOT NULL THEN ARRAY[$11] ELSE '{}'
    END,
    created = $4, updated = $5, unchanged = $6, skipped = $7, rejected = $8,
    read = $4::bigint + $5::bigint + $6::bigint + $7::bigint + $8::bigint,
    repaired = (
        SELECT count(DISTINCT r.legacy_id) FROM import_rejections r
        LEFT JOIN import_chunks w ON (w.import_id, w.chunk, w.attempt) = (r.import_id, r.chunk, r.attempt)
        WHERE r.import_id = $1 AND (r.kind = 'phone_conflict' OR r.kind = 'field' AND w.chunk IS NOT NULL)
    )
WHERE id = $1 RETURNING *
"""

_LOCK_ALL_UNFINISHED = "SELECT id FROM imports WHERE status = ANY($1) ORDER BY id FOR UPDATE"

_FAIL = """
UPDATE imports i SET
    status = 'failed', error = $2, finished_at = now(), created = n.created, updated = n.updated,
    unchanged = n.unchanged, skipped = n.skipped, rejected = n.rejected,
    read = n.created + n.updated + n.unchanged + n.skipped + n.rejected
FROM (
    SELECT
        coalesce(sum(n.created), 0)::bigint AS created, coalesce(sum(n.updated), 0)::bigint AS updated,
        coalesce(sum(n.unchanged), 0)::bigint AS unchanged, coalesce(sum(n.skipped), 0)::bigint AS skipped,
        coalesce(sum(n.rejected), 0)::bigint AS rejected
    FROM import_chunks c
    JOIN import_counts n ON (n.import_id, n.chunk, n.attempt) = (c.import_id, c.chunk, c.attempt)
    WHERE c.import_id = $1
) AS n
WHERE i.id = $1 RETURNING i.*
"""
