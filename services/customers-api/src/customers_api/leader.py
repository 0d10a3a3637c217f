"""Leadership: the process that holds an advisory lock does the work, and the others stand by."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from vapteke_shared.process import connection_errors
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import WAITS, Health
from vapteke_shared.process.shutdown import pause

Work = Callable[[asyncpg.Connection, asyncio.Event], Awaitable[None]]

_EVERY_SECONDS = 1.0
_WAIT_SECONDS = 10  # for a connection from the pool


async def lead(pool: asyncpg.Pool, health: Health, dependency: str, work: Work, stopping: asyncio.Event) -> None:
    """Run `work` while this process leads, that is, holds the lock of `dependency`, until `stopping` is set.

    `work` gets the connection that holds the lock, and `stopping`: as long as this connection works, no other process
    leads. `work` must send a statement on the connection at least every 20 seconds, or Postgres closes it. `work` must
    also report `dependency` as ready in `health`, and return soon after `stopping` is set. A process that does not lead
    reports `dependency` as ready here.

    An error in `work` is not raised, but reported as a fault of `dependency`. When `work` ends or fails, the connection
    goes back to the pool, which releases the lock. A second later any process may take the lock and run `work` again.
    """
    while not stopping.is_set():
        try:
            async with pool.acquire(timeout=_WAIT_SECONDS) as connection:
                if await connection.fetchval(_LOCK, f"customers.{dependency}"):
                    await connection.execute(_SILENCE)
                    await work(connection, stopping)
                else:
                    health.report_ready(dependency)
        except Exception as error:  # of Postgres or Kafka; a bug recurs every second, so the health keeps showing it
            reraise_cancellation()
            health.report_fault(dependency, f"{WAITS}{connection_errors.describe(error)}")
        await pause(stopping, _EVERY_SECONDS)


_LOCK = "SELECT pg_try_advisory_lock(hashtext($1))"
# releases the lock of a leader that is frozen or unreachable; a healthy leader is never silent for so long
_SILENCE = "SET idle_session_timeout = '20s'"
