"""Migrations of tables that have rows already."""

import asyncio
import time

import alembic.command
import asyncpg
import databases
import pytest
from customers_api.tables import SCHEMA
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import migrations
from vapteke_shared.process.settings import PostgresOwnerSettings


@pytest.fixture
def owner(postgres_server: Postgres, database_name: str) -> PostgresOwnerSettings:
    return databases.owner(postgres_server, SCHEMA, database_name)


async def test_customers_who_were_there_before_the_counts_are_counted(
    owner: PostgresOwnerSettings, pool: asyncpg.Pool
) -> None:
    config = migrations.config(owner, SCHEMA)
    await asyncio.to_thread(alembic.command.downgrade, config, "0001")
    await pool.execute("INSERT INTO customers (version, deleted_at) VALUES (1, NULL), (1, NULL), (1, now())")

    await asyncio.to_thread(alembic.command.upgrade, config, "head")

    await pool.execute("INSERT INTO customers (version) VALUES (1)")
    assert tuple(await pool.fetchrow("SELECT sum(living)::int, sum(deleted)::int FROM customer_counts")) == (3, 1)


async def test_readers_do_not_wait_long_while_a_backup_keeps_the_keys_of_the_mirror_from_being_dropped(
    owner: PostgresOwnerSettings, pool: asyncpg.Pool
) -> None:
    config = migrations.config(owner, SCHEMA)
    await asyncio.to_thread(alembic.command.downgrade, config, "0009")

    waits = []
    async with pool.acquire() as backup:
        async with backup.transaction():
            await backup.execute("SELECT FROM customers")
            migrating = asyncio.create_task(asyncio.to_thread(alembic.command.upgrade, config, "0010"))
            for _ in range(2):
                await _waiting(pool)
                started = time.monotonic()
                await pool.fetchval("SELECT count(*) FROM legacy_customers JOIN customers USING (birthday)")
                waits.append(time.monotonic() - started)
        await migrating

    assert max(waits) < 5  # the limit of a whole migration is 30
    assert not await pool.fetchval(_KEYS_OF_THE_MIRROR)


async def _waiting(pool: asyncpg.Pool) -> None:
    """Until the migration waits for a table."""
    while not await pool.fetchval(_WAITS_FOR_A_TABLE):
        await asyncio.sleep(0.01)


_WAITS_FOR_A_TABLE = """
SELECT EXISTS (
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE NOT granted AND locktype = 'relation'
)
"""
_KEYS_OF_THE_MIRROR = """
SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'customers.legacy_customers'::regclass
"""
