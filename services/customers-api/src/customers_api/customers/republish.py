"""Every customer's present state is sent again: for followers of a new Kafka, who would else see nobody.

Through the outbox and under the customer's lock, with the version that the customer has: who knows it already drops
it. How far it is stands in `republications`, so that it goes on there after any end.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import asyncpg
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.customers import customer_events
from customers_api.customers.customer_events import Change

_BATCH_ROWS = 500
_SAY_SECONDS = 5.0

Say = Callable[[str], None]


class AlreadyRuns(Exception):
    """Another process republishes."""


class Republication:
    """One run of the command, on a connection of its own: a lock on it keeps a second one away.

    It waits while the outbox has `waiting_rows`: the events of the API must not wait behind many of ours.
    """

    def __init__(self, connection: asyncpg.Connection, rate: int, say: Say, waiting_rows: int = 2_000) -> None:
        self._connection, self._rate, self._say, self._waiting_rows = connection, rate, say, waiting_rows
        self._said_at = 0.0

    async def run(self, from_start: bool = False) -> int:
        """Republish all customers, deleted ones too; returns how many, over all runs. Raises AlreadyRuns."""
        if not await self._connection.fetchval("SELECT pg_try_advisory_lock(hashtext('customers.republish'))"):
            raise AlreadyRuns
        if from_start:
            await forget(self._connection)
        run_id, sent, total = await self._begin()
        if sent:
            self._say(f"goes on after {sent:,} of {total:,} customers")
        while count := await self._step(run_id):
            sent += count
            self._say_now_and_then(sent, total)
        await self._connection.execute("UPDATE republications SET finished_at = now() WHERE id = $1", run_id)
        return sent

    async def _begin(self) -> Sequence[int]:
        await self._connection.execute(_BEGIN)
        row: Sequence[int] = await self._connection.fetchrow(_UNFINISHED)
        return row

    async def _step(self, run_id: int) -> int:
        """One batch, as slowly as the rate wants."""
        started = time.monotonic()
        await self._outbox_has_room()
        count = await _send(self._connection, run_id, min(_BATCH_ROWS, self._rate))
        await asyncio.sleep(max(0.0, count / self._rate - (time.monotonic() - started)))
        return count

    async def _outbox_has_room(self) -> None:
        while await self._connection.fetchval(_IS_FULL, self._waiting_rows):
            self._say_now_and_then_that("the outbox is full: `customers-api work` has to send what waits in it")
            await asyncio.sleep(0.2)

    def _say_now_and_then(self, sent: int, total: int) -> None:
        self._say_now_and_then_that(f"{sent:,} of {total:,} customers ({sent / max(total, 1):.0%})")

    def _say_now_and_then_that(self, text: str) -> None:
        if time.monotonic() - self._said_at >= _SAY_SECONDS:
            self._said_at = time.monotonic()
            self._say(text)


async def forget(connection: asyncpg.Connection) -> None:
    """A run that has not ended is given up: the next one begins with the first customer."""
    await connection.execute("DELETE FROM republications WHERE finished_at IS NULL")


@retry_conflicts
async def _send(connection: asyncpg.Connection, run_id: int, rows: int) -> int:
    """The next customers, in one transaction with how far we are; 0: that was all."""
    async with connection.transaction():
        customers = await connection.fetch(_NEXT, run_id, rows)
        if customers:
            changes = [Change(c["id"], "deleted" if c["deleted_at"] else "updated", ()) for c in customers]
            await customer_events.add(connection, "api", changes)
            await connection.execute(_ADVANCE, run_id, customers[-1]["id"], len(customers))
        return len(customers)


# customers that come later have their events by themselves
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
_ADVANCE = "UPDATE republications SET last_id = $2, sent = sent + $3 WHERE id = $1"
_IS_FULL = "SELECT count(*) >= $1 FROM (SELECT FROM outbox LIMIT $1) AS waiting"
