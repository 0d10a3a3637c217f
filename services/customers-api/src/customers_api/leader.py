"""One process at a time: the one that holds an advisory lock leads, the others stand by."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from vapteke_shared.process import connection_errors
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import WAITS, Health
from vapteke_shared.process.shutdown import pause

Work = Callable[[asyncpg.Connection, asyncio.Event], Awaitable[None]]

_EVERY_SECONDS = 1.0
_WAIT_SECONDS = 10  # for a connection, and for giving it back


async def lead(pool: asyncpg.Pool, health: Health, need: str, work: Work, stopping: asyncio.Event) -> None:
    """In one of all processes, run `work` on the connection that holds the lock named by `need`, until `stopping`.

    The lock goes with the connection: what is read on it, no other leader has touched since. An error in `work` makes
    `need` ill; the pool, which clears the session of what comes back to it, gives up the lock, and after a second
    everybody may try again.
    """
    while not stopping.is_set():
        try:
            async with pool.acquire(timeout=_WAIT_SECONDS) as connection:
                if await connection.fetchval(_LOCK, f"customers.{need}"):
                    await connection.execute(_SILENCE)
                    await work(connection, stopping)
                else:
                    health.report_ready(need)
        except Exception as error:  # of Postgres or of Kafka; a bug stays visible, as it comes back every second
            reraise_cancellation()
            health.report_fault(need, f"{WAITS}{connection_errors.describe(error)}")
        await pause(stopping, _EVERY_SECONDS)


_LOCK = "SELECT pg_try_advisory_lock(hashtext($1))"
# a leader that is frozen or out of reach leaves the lock behind; a living one is never silent for so long
_SILENCE = "SET idle_session_timeout = '20s'"
