"""The sweeper checks whether unfinished imports can end, and ends them with a verdict.

It also runs the schedule, deletes the details of old imports and the customers whose rows are gone, merges rows of
`customer_counts`, and counts the mirror's orphans and the deletions that wait for an approval. It checks every second,
and soon after each batch that this process has applied.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import pause
from vapteke_shared.process.wake_ups import WakeUp

from customers_api import leader
from customers_api.customers import queries as customer_queries
from customers_api.imports import gone_rows, mirror_orphans, old_details, outcomes, verdicts, waiting_deletions, writes
from customers_api.imports.admissions import HAS_PASSED
from customers_api.imports.gone_rows import Deletions
from customers_api.imports.mirror_orphans import OrphanCount
from customers_api.imports.tables import HANDING_OUT, READING, UNFINISHED
from customers_api.imports.verdicts import Chunks
from customers_api.imports.waiting_deletions import WaitingCount
from customers_api.schedule import scheduler as schedulers
from customers_api.schedule.scheduler import Scheduler

_CHECKING_SHARE = 0.1  # of the time at most, however often it is woken


class Sweeper:
    """Ends imports, in the one process that leads.

    An import without progress for `stalled_seconds` fails, or is cancelled if a cancel was requested. Only time counts
    in which this process runs and Postgres and Kafka answer: an outage is not a stall. The latest `kept` imports of
    each kind keep their details. `deletions` says what becomes of customers whose rows are gone. `scheduler` starts
    imports when they are due; by default none starts by itself.
    An import that has waited for another kind to end gets ranges of `rows_per_range` rows.
    """

    every_seconds = 1.0

    def __init__(
        self,
        pool: asyncpg.Pool,
        health: Health,
        stalled_seconds: float,
        kept: int = 30,
        deletions: Deletions = gone_rows.REPORT,
        scheduler: Scheduler | None = None,
        rows_per_range: int = 10_000,
    ) -> None:
        self._pool, self._health, self._stalled_seconds, self._kept = pool, health, stalled_seconds, kept
        self._deletions, self._rows_per_range = deletions, rows_per_range
        self._stalls: dict[UUID, Stall] = {}
        self._scheduler = scheduler or Scheduler()
        self._orphans = OrphanCount()
        self.wake_up = WakeUp()

    async def run(self, stopping: asyncio.Event) -> None:
        await leader.lead(self._pool, self._health, "sweeper", self._lead, stopping)

    async def _lead(self, connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        self._orphans, waiting = OrphanCount(), WaitingCount()
        try:
            while not stopping.is_set():
                started = time.monotonic()
                await self.sweep(connection)
                await gone_rows.delete_next(connection)
                await waiting.advance(connection)
                await self._scheduler.advance(connection)
                await customer_queries.fold_counts(connection)
                self._health.report_ready("sweeper")
                await self._rest(stopping, time.monotonic() - started)
                self.grow_idle(time.monotonic() - started)
        finally:
            mirror_orphans.show(0, 0)  # the next leader counts
            waiting_deletions.show({})
            schedulers.hide()

    async def _rest(self, stopping: asyncio.Event, checking_seconds: float) -> None:
        """Pause for `every_seconds`.

        `wake_up` shortens the pause, but not below ten times the duration of the last check.
        """
        least = min(checking_seconds / _CHECKING_SHARE, self.every_seconds)
        await pause(stopping, least)
        await self.wake_up.pause(stopping, self.every_seconds - least)

    def grow_idle(self, seconds: float) -> None:
        """Add `seconds`, at most twice `every_seconds`, to the time that each unfinished import has made no progress.

        Add nothing while a dependency is not ready.
        """
        others = self._health.faults.keys() - {"sweeper", "texts"}
        if not others:
            for stall in self._stalls.values():
                stall.seconds += min(seconds, 2 * self.every_seconds)

    async def sweep(self, connection: asyncpg.Connection) -> None:
        """Check each unfinished import once. If everything is done or it has stalled, end it and report the verdict.

        After an end, the details of old imports are deleted. If no import looks at the whole table, the one that has
        waited longest starts. If no import is unfinished, count a slice of the mirror's orphans.
        """
        jobs = await connection.fetch(_UNFINISHED, UNFINISHED)
        self._stalls = {job["id"]: self._stalls.get(job["id"], Stall()) for job in jobs}
        going_on = [job for job in jobs if not await self._has_ended(connection, job)]
        if all(job["status"] == READING for job in going_on):
            await writes.start_waiting(connection, self._rows_per_range)
        if jobs:
            self._orphans.repeat()
        else:
            await self._orphans.advance(connection)

    async def _has_ended(self, connection: asyncpg.Connection, job: asyncpg.Record) -> bool:
        """End the import if it can end, and return whether it has ended."""
        chunks = await connection.fetch(_CHUNKS, job["id"])
        idle_seconds = self._stalls[job["id"]].since_progress(job, chunks)
        verdict = verdicts.of(job, chunks)
        if verdict is None and idle_seconds >= self._stalled_seconds:
            verdict = verdicts.of_stalled(job, chunks, datetime.now(UTC) - timedelta(seconds=idle_seconds))
        if verdict is None:
            return False
        ended = await writes.end(connection, job["id"], *verdict, verdicts.counts(chunks), self._deletions)
        if ended is not None:
            outcomes.report_verdict(ended)
        await old_details.delete(connection, self._kept)
        return True


class Stall:
    """How long an import has made no progress. `seconds` grows by `Sweeper.grow_idle`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._progress: tuple[object, ...] = ()

    def since_progress(self, job: asyncpg.Record, chunks: Chunks) -> float:
        """The seconds without progress; 0 if the import has made progress since the last call.

        Progress is a stored plan, a range published for the first time, or counted events of a published attempt.
        """
        published = sum(chunk["status"] == "published" for chunk in chunks)
        progress = (job["status"] in HANDING_OUT, published, sum(chunk["counted"] for chunk in chunks))
        if progress != self._progress:
            self._progress, self.seconds = progress, 0.0
        return self.seconds


# Imports of single rows first: an error in ending a large one must not keep them.
_UNFINISHED = "SELECT * FROM imports WHERE status = ANY($1) ORDER BY status = 'reading' DESC, requested_at"

# One statement, so that ranges, counts and offsets come from one snapshot.
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
