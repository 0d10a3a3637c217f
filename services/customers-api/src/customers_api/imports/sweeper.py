"""The sweeper checks whether the unfinished import can end, and ends it with a verdict.

It also runs the schedule, deletes the details of old imports and the customers whose rows are gone, merges rows of
`customer_counts`, and counts the mirror's orphans. It checks every second, and soon after each batch that this process
has applied.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import asyncpg
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import pause
from vapteke_shared.process.wake_ups import WakeUp

from customers_api import leader
from customers_api.customers import queries as customer_queries
from customers_api.imports import gone_rows, mirror_orphans, outcomes, verdicts, writes
from customers_api.imports.admissions import HAS_PASSED
from customers_api.imports.gone_rows import Deletions
from customers_api.imports.mirror_orphans import OrphanCount
from customers_api.imports.tables import UNFINISHED
from customers_api.imports.verdicts import Chunks
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
        self._progress: tuple[object, ...] = ()
        self._idle_seconds = 0.0
        self._scheduler = scheduler or Scheduler()
        self._orphans = OrphanCount()
        self.wake_up = WakeUp()

    async def run(self, stopping: asyncio.Event) -> None:
        await leader.lead(self._pool, self._health, "sweeper", self._lead, stopping)

    async def _lead(self, connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        self._orphans = OrphanCount()
        try:
            while not stopping.is_set():
                started = time.monotonic()
                await self.sweep(connection)
                await gone_rows.delete_next(connection)
                await self._scheduler.advance(connection)
                await customer_queries.fold_counts(connection)
                self._health.report_ready("sweeper")
                await self._rest(stopping, time.monotonic() - started)
                self.grow_idle(time.monotonic() - started)
        finally:
            mirror_orphans.show(0, 0)  # the next leader counts
            schedulers.hide()

    async def _rest(self, stopping: asyncio.Event, checking_seconds: float) -> None:
        """Pause for `every_seconds`.

        `wake_up` shortens the pause, but not below ten times the duration of the last check.
        """
        least = min(checking_seconds / _CHECKING_SHARE, self.every_seconds)
        await pause(stopping, least)
        await self.wake_up.pause(stopping, self.every_seconds - least)

    def grow_idle(self, seconds: float) -> None:
        """Add `seconds`, at most twice `every_seconds`, to the time without progress. Add nothing while a dependency is
        not ready.
        """
        others = self._health.faults.keys() - {"sweeper", "texts"}
        if not others:
            self._idle_seconds += min(seconds, 2 * self.every_seconds)

    async def sweep(self, connection: asyncpg.Connection) -> None:
        """Check the unfinished import once. If everything is done or it has stalled, end it and report the verdict.

        After an end, the details of old imports are deleted. If no import is unfinished, count a slice of the mirror's
        orphans.
        """
        job = await connection.fetchrow("SELECT * FROM imports WHERE status = ANY($1)", UNFINISHED)
        if job is None:
            self._progress, self._idle_seconds = (), 0.0
            await writes.start_waiting(connection, self._rows_per_range)
            await self._orphans.advance(connection)
            return
        self._orphans.repeat()
        chunks = await connection.fetch(_CHUNKS, job["id"])
        self._note_progress(job, chunks)
        verdict = verdicts.of(job, chunks)
        if verdict is None and self._idle_seconds >= self._stalled_seconds:
            verdict = verdicts.of_stalled(job, chunks, datetime.now(UTC) - timedelta(seconds=self._idle_seconds))
        if verdict is not None:
            ended = await writes.end(connection, job["id"], *verdict, verdicts.counts(chunks), self._deletions)
            if ended is not None:
                outcomes.report_verdict(ended)
            await writes.delete_old_details(connection, self._kept)
            await writes.start_waiting(connection, self._rows_per_range)

    def _note_progress(self, job: asyncpg.Record, chunks: Chunks) -> None:
        """Reset the time without progress if the import has made progress since the last check.

        Progress is a stored plan, a range published for the first time, or counted events of a published attempt.
        """
        published = sum(chunk["status"] == "published" for chunk in chunks)
        progress = (job["id"], job["status"] == "running", published, sum(chunk["counted"] for chunk in chunks))
        if progress != self._progress:
            self._progress, self._idle_seconds = progress, 0.0


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
