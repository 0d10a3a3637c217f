"""Closes the pool at shutdown without waiting for a Postgres that does not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from vapteke_shared.postgres.outages import unless_a_bug
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation

_QUERY_SECONDS = 12  # leaves time for current requests to respond that Postgres does not answer
_CLOSE_SECONDS = 3

log = logs.get(__name__)


@asynccontextmanager
async def closing(pool: asyncpg.Pool, stopping: asyncio.Event) -> AsyncIterator[asyncpg.Pool]:
    """Open the pool for the block and close it afterwards.

    If Postgres does not answer, queries and the close itself would wait. So the connections are cut some seconds after
    the shutdown has begun.
    """
    await pool
    cutting = asyncio.create_task(_cut(pool, stopping), name="cut at the stop")
    try:
        yield pool
    finally:
        cutting.cancel()
        await _close(pool)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await pool.close()
    except Exception as error:
        reraise_cancellation()
        log.warning("Postgres did not answer during shutdown", error=type(unless_a_bug(error)).__name__)


async def _cut(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
    await stopping.wait()
    await asyncio.sleep(_QUERY_SECONDS)
    pool.terminate()
