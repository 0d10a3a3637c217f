"""What the demo reads from Postgres directly: the outbox, and how many rows were written."""

import asyncio
import time

import asyncpg

WRITTEN_TABLES = ("phones", "firstnames", "customers", "legacy_customers")
# A Postgres backend that has nothing to do reports its counters after 10 s.
STATISTICS_DELAY_SECONDS = 10.5
POLL_SECONDS = 0.2


async def outbox_rows(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM customers.outbox"))
    finally:
        await connection.close()


async def written_rows(dsn: str) -> int:
    """How many rows have been inserted, updated or deleted so far in WRITTEN_TABLES, by the statistics of Postgres.

    These are late: to count all rows written so far, wait STATISTICS_DELAY_SECONDS first. The demo compares two counts,
    because an import of unchanged rows must not write to these tables.
    """
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(_WRITTEN, WRITTEN_TABLES))
    finally:
        await connection.close()


async def settled_written_rows(dsn: str) -> int:
    """Waits until the late statistics of Postgres account for every row in WRITTEN_TABLES, then returns `written_rows`.

    Inserted and deleted rows are compared with the tables, updates are not. After STATISTICS_DELAY_SECONDS the wait
    ends without an error.
    """
    deadline = time.monotonic() + STATISTICS_DELAY_SECONDS
    connection = await asyncpg.connect(dsn)
    try:
        while time.monotonic() < deadline:
            if await connection.fetchval(_ALL_COUNTED):
                break
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()
    return await written_rows(dsn)


_WRITTEN = """
SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables
WHERE schemaname = 'customers' AND relname = ANY($1)
"""

_ALL_COUNTED = """
SELECT sum(n_tup_ins - n_tup_del)
    = (SELECT count(*) FROM customers.phones) + (SELECT count(*) FROM customers.firstnames)
    + (SELECT count(*) FROM customers.customers) + (SELECT count(*) FROM customers.legacy_customers)
FROM pg_stat_user_tables
WHERE schemaname = 'customers' AND relname IN ('phones', 'firstnames', 'customers', 'legacy_customers')
"""
