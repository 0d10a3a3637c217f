"""Migrations of tables that have rows already."""

import asyncio

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
