"""Sends the current state of every customer again, for the consumers of a new Kafka.

Each event is written to the outbox while the customer is locked, with the customer's current version. So a consumer
that already has this version drops the event. Progress is stored in `republications`: after an interruption, the next
run continues where the last one ended.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import asyncpg
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.customers import customer_events
from customers_api.customers.customer_events import Change

_BATCH_ROWS = 500
_REPORT_SECONDS = 5.0

Report = Callable[[str], None]


class AlreadyRunning(Exception):
    """Another process is republishing."""


class RunAbandoned(Exception):
    """`offsets reset` has abandoned this run, because Kafka was replaced again. The next run sends every customer."""


class Republication:
    """One run of `events republish`.

    `connection` belongs to the run alone: it holds the lock that prevents a second run at the same time, until the
    caller closes it or returns it to the pool. The run sends at most `rate` customers per second. It waits while the
    outbox has `waiting_rows` rows or more, so that events of the API do not wait behind many events of the run.
    `report` is called with texts about the progress.
    """

    def __init__(self, connection: asyncpg.Connection, rate: int, report: Report, waiting_rows: int = 2_000) -> None:
        self._connection, self._rate, self._report, self._waiting_rows = connection, rate, report, waiting_rows
        self._reported_at = 0.0

    async def run(self, from_start: bool = False) -> int:
        """Write the events of all customers to the outbox, also of deleted ones, or continue an interrupted run.

        Customers that are created after the run began have events of their own. With `from_start`, an interrupted run
        is abandoned instead of continued. Returns how many customers were sent, also before an interruption. Raises
        AlreadyRunning, and RunAbandoned if `abandon` is called during the run.
        """
        if not await self._connection.fetchval("SELECT pg_try_advisory_lock(hashtext('customers.republish'))"):
            raise AlreadyRunning
        if from_start:
            await abandon(self._connection)
        run_id, sent, total = await self._begin()
        if sent:
            self._report(f"continues after {sent:,} of {total:,} customers")
        while count := await self._step(run_id):
            sent += count
            self._report_progress(sent, total)
        if not await self._connection.fetchval(_FINISH, run_id):
            raise RunAbandoned
        return sent

    async def _begin(self) -> Sequence[int]:
        await self._connection.execute(_BEGIN)
        row: Sequence[int] | None = await self._connection.fetchrow(_UNFINISHED)
        if row is None:
            raise RunAbandoned
        return row

    async def _step(self, run_id: int) -> int:
        """Wait for room in the outbox, write one batch to it, and pause to keep to the rate.

        Returns how many customers were written; 0 when none is left. Raises RunAbandoned.
        """
        started = time.monotonic()
        await self._wait_for_room()
        count = await _send(self._connection, run_id, min(_BATCH_ROWS, self._rate))
        await asyncio.sleep(max(0.0, count / self._rate - (time.monotonic() - started)))
        return count

    async def _wait_for_room(self) -> None:
        while await self._connection.fetchval(_IS_FULL, self._waiting_rows):
            self._report_sometimes("the outbox is full; waiting for `customers-api work` to send its rows")
            await asyncio.sleep(0.2)

    def _report_progress(self, sent: int, total: int) -> None:
        self._report_sometimes(f"{sent:,} of {total:,} customers ({sent / max(total, 1):.0%})")

    def _report_sometimes(self, text: str) -> None:
        if time.monotonic() - self._reported_at >= _REPORT_SECONDS:
            self._reported_at = time.monotonic()
            self._report(text)


async def abandon(connection: asyncpg.Connection) -> None:
    """Delete the progress of an unfinished run, if there is one: the next run begins with the first customer.

    If that run is in progress, it ends with RunAbandoned.
    """
    await connection.execute("DELETE FROM republications WHERE finished_at IS NULL")


@retry_conflicts
async def _send(connection: asyncpg.Connection, run_id: int, rows: int) -> int:
    """Write the events of up to `rows` more customers to the outbox, and store the progress.

    Returns how many were written; 0 when none is left. Raises RunAbandoned.
    """
    async with connection.transaction():
        if not await connection.fetchval(_LOCK_RUN, run_id):
            raise RunAbandoned
        customers = await connection.fetch(_NEXT, run_id, rows)
        if customers:
            changes = [Change(c["id"], "deleted" if c["deleted_at"] else "updated", ()) for c in customers]
            await customer_events.add(connection, "api", changes)
            await connection.execute(_ADVANCE, run_id, customers[-1]["id"], len(customers))
        return len(customers)


# customers that are created later have events of their own
_BEGIN = """
INSERT INTO republications (upto_id, total)
SELECT coalesce(max(id), 0), count(*) FROM customers
HAVING NOT EXISTS (SELECT FROM republications WHERE finished_at IS NULL)
"""
_UNFINISHED = "SELECT id, sent, total FROM republications WHERE finished_at IS NULL"
_NEXT = """
SELECT c.id, c.deleted_at FROM customers c, republications r
WHERE r.id = $1 AND c.id > r.last_id AND c.id <= r.upto_id ORDER BY c.id LIMIT $2 FOR NO KEY UPDATE OF c
"""
# so that a run cannot be abandoned between the reading of its customers and the storing of its progress
_LOCK_RUN = "SELECT id FROM republications WHERE id = $1 FOR UPDATE"
_ADVANCE = "UPDATE republications SET last_id = $2, sent = sent + $3 WHERE id = $1"
_FINISH = "UPDATE republications SET finished_at = now() WHERE id = $1 RETURNING id"
_IS_FULL = "SELECT count(*) >= $1 FROM (SELECT FROM outbox LIMIT $1) AS waiting"
