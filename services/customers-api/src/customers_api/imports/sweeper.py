"""The sweeper: every second it looks whether the import has ended, and pronounces its verdict; and it folds counts."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from vapteke_shared.process import logs
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import pause

from customers_api import leader
from customers_api.customers import queries
from customers_api.imports import writes
from customers_api.imports.admissions import HAS_PASSED
from customers_api.imports.tables import ALIVE

Verdict = tuple[str, str | None]
CLASSES = ("created", "updated", "unchanged", "skipped", "rejected")
_EVERY_SECONDS = 1.0
_NOT_APPLIED = "what was read has not been applied", "customers-api work"
_NO_ANSWER = "no importer has answered", "legacy-importer work and customers-api work"

log = logs.get(__name__)


class Sweeper:
    """Ends imports; of all processes, the one that leads.

    An import without progress is failed after `stalled_seconds`, counted only while this process runs and neither
    Postgres nor Kafka is away: an outage is no stall.
    """

    def __init__(self, pool: asyncpg.Pool, health: Health, stalled_seconds: float, kept: int = 30) -> None:
        self._pool, self._health, self._stalled_seconds, self._kept = pool, health, stalled_seconds, kept
        self._progress: tuple[object, ...] = ()
        self._idle_seconds = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        await leader.lead(self._pool, self._health, "sweeper", self._lead, stopping)

    async def _lead(self, connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            started = time.monotonic()
            await self.sweep(connection)
            await queries.fold_counts(connection)
            self._health.report_ready("sweeper")
            await pause(stopping, _EVERY_SECONDS)
            self.grow_idle(time.monotonic() - started)

    def grow_idle(self, seconds: float) -> None:
        others = self._health.faults.keys() - {"sweeper", "texts"}
        if not others:
            self._idle_seconds += min(seconds, 2 * _EVERY_SECONDS)

    async def sweep(self, connection: asyncpg.Connection) -> None:
        """Look once, and end the import if it has ended or stalled."""
        job = await connection.fetchrow("SELECT * FROM imports WHERE status = ANY($1)", ALIVE)
        if job is None:
            self._progress, self._idle_seconds = (), 0.0
            return
        chunks = await connection.fetch(_CHUNKS, job["id"])
        self._note_progress(job, chunks)
        verdict = _verdict(job, chunks)
        if verdict is None and self._idle_seconds >= self._stalled_seconds:
            verdict = self._stalled(job, chunks)
        if verdict is not None:
            ended = await _end(connection, job["id"], verdict, chunks)
            if ended is not None:
                writes.tell_verdict(ended)
            await connection.execute(_FORGET, self._kept)

    def _note_progress(self, job: asyncpg.Record, chunks: Sequence[asyncpg.Record]) -> None:
        """Progress is a stored plan, a range published for the first time, or counted events of a published attempt."""
        published = sum(chunk["status"] == "published" for chunk in chunks)
        progress = (job["id"], job["status"] == "running", published, sum(chunk["counted"] for chunk in chunks))
        if progress != self._progress:
            self._progress, self._idle_seconds = progress, 0.0

    def _stalled(self, job: asyncpg.Record, chunks: Sequence[asyncpg.Record]) -> Verdict:
        if fault := job["error"] or _differences(chunk for chunk in chunks if chunk["passed"]):
            return "failed", fault
        since = datetime.now(UTC) - timedelta(seconds=self._idle_seconds)
        waiting = any(chunk["status"] == "published" and not chunk["passed"] for chunk in chunks)
        what, who = _NOT_APPLIED if waiting else _NO_ANSWER
        error = f"{what} since {since:%Y-%m-%d %H:%M:%S} UTC: /health/ready of {who} says what is missing"
        return "cancelled" if job["cancelled_at"] else "failed", error


def _verdict(job: asyncpg.Record, chunks: Sequence[asyncpg.Record]) -> Verdict | None:
    """None while something is still to come."""
    if job["status"] != "running":
        return ("cancelled", None) if job["cancelled_at"] else None
    published = [chunk for chunk in chunks if chunk["status"] == "published"]
    if not all(chunk["passed"] for chunk in published):
        return None
    if job["error"] or job["cancelled_at"]:  # what was in flight may end, nothing else is asked for
        if any(chunk["status"] == "requested" for chunk in chunks):
            return None
    elif len(published) < len(chunks):
        return None
    if fault := job["error"] or _differences(published):
        return "failed", fault
    if job["cancelled_at"] and len(published) < len(chunks):
        return "cancelled", None
    return "completed", None


def _differences(chunks: Iterable[asyncpg.Record]) -> str | None:
    """Of ranges that were published and have passed: where the count is not what was read."""
    faults = [_difference(c) for c in chunks if c["status"] == "published" and c["counted"] != c["event_count"]]
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return "; ".join(faults[:5]) + more or None


def _difference(chunk: asyncpg.Record) -> str:
    after = "the beginning" if chunk["after_id"] is None else chunk["after_id"]
    return (
        f"range {chunk['chunk']} (keys after {after} up to {chunk['upto_id']}): "
        f"{chunk['event_count']} rows were read, {chunk['counted']} were counted"
    )


async def _end(
    connection: asyncpg.Connection, import_id: UUID, verdict: Verdict, chunks: Sequence[asyncpg.Record]
) -> asyncpg.Record | None:
    """The import as it has ended, unless it had already."""
    status, error = verdict
    async with connection.transaction():
        if not await connection.fetchval(_LOCK_IMPORT, import_id, ALIVE):
            return None
        if status == "completed":  # of one that has read a part, they would say nothing
            await connection.execute(_PHONE_CONFLICTS, import_id)
        counts = [sum(chunk[name] for chunk in chunks) for name in CLASSES]
        job = await connection.fetchrow(_END, import_id, status, error, *counts)
        await writes.say_state(connection, job)
        return job


# Ranges, counters and offsets in one statement: one snapshot.
_CHUNKS = f"""
SELECT
    c.chunk, c.after_id, c.upto_id, c.status, c.event_count,
    coalesce(n.created, 0) AS created, coalesce(n.updated, 0) AS updated, coalesce(n.unchanged, 0) AS unchanged,
    coalesce(n.skipped, 0) AS skipped, coalesce(n.rejected, 0) AS rejected, coalesce(n.counted, 0) AS counted,
    {HAS_PASSED} AS passed
FROM import_chunks c
LEFT JOIN (
    SELECT
        import_id, chunk, attempt, sum(created)::bigint AS created, sum(updated)::bigint AS updated,
        sum(unchanged)::bigint AS unchanged, sum(skipped)::bigint AS skipped, sum(rejected)::bigint AS rejected,
        sum(created + updated + unchanged + skipped + rejected)::bigint AS counted
    FROM import_counts WHERE import_id = $1 GROUP BY import_id, chunk, attempt
) AS n ON (n.import_id, n.chunk, n.attempt) = (c.import_id, c.chunk, c.attempt)
WHERE c.import_id = $1
ORDER BY c.chunk
"""

# The counts are in the job by then: what the latest do not need goes, ranges too.
_FORGET = """
WITH readings AS (
    DELETE FROM import_readings r USING imports i WHERE i.id = r.import_id AND i.finished_at IS NOT NULL
),
latest AS (SELECT id FROM imports ORDER BY requested_at DESC, id LIMIT $1),
old AS (SELECT id FROM imports WHERE finished_at IS NOT NULL AND id NOT IN (SELECT id FROM latest)),
rejections AS (DELETE FROM import_rejections WHERE import_id IN (SELECT id FROM old)),
counts AS (DELETE FROM import_counts WHERE import_id IN (SELECT id FROM old))
DELETE FROM import_chunks WHERE import_id IN (SELECT id FROM old)
"""

_LOCK_IMPORT = "SELECT id FROM imports WHERE id = $1 AND status = ANY($2) FOR UPDATE"

# Every living linked customer without a phone whose row was read, and who holds the phone that it names; but not whose
# row was rejected.
_PHONE_CONFLICTS = """
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
) AND NOT EXISTS (
    SELECT FROM import_rejections r
    JOIN import_chunks w ON (w.import_id, w.chunk, w.attempt) = (r.import_id, r.chunk, r.attempt)
    WHERE r.import_id = $1 AND r.kind = 'row' AND r.legacy_id = m.legacy_id
)
ORDER BY m.legacy_id
"""

_END = """
UPDATE imports SET
    status = $2, error = $3, finished_at = now(), started_at = coalesce(started_at, now()),
    created = $4, updated = $5, unchanged = $6, skipped = $7, rejected = $8,
    read = $4::bigint + $5::bigint + $6::bigint + $7::bigint + $8::bigint,
    repaired = (
        SELECT count(DISTINCT r.legacy_id) FROM import_rejections r
        LEFT JOIN import_chunks w ON (w.import_id, w.chunk, w.attempt) = (r.import_id, r.chunk, r.attempt)
        WHERE r.import_id = $1 AND (r.kind = 'phone_conflict' OR r.kind = 'field' AND w.chunk IS NOT NULL)
    )
WHERE id = $1 RETURNING *
"""
