"""The migrations of every service: safe to run concurrently, equal to the models, and not run by its own role."""

import asyncio
import os
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import alembic.command
import asyncpg
import customers_api.tables
import databases
import favorites_api.tables
import pytest
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import migrations, pool_health, pools
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process.health import STARTING, Health
from vapteke_shared.process.settings import PostgresOwnerSettings, PostgresSettings

every_service = pytest.mark.parametrize(
    "schema", [customers_api.tables.SCHEMA, favorites_api.tables.SCHEMA], ids=lambda schema: schema.service
)


@every_service
async def test_the_migrations_make_what_the_models_say(postgres_server: Postgres, schema: Schema) -> None:
    name = await databases.migrated(postgres_server, schema, f"{schema.name}_compared")

    config = migrations.config(databases.owner(postgres_server, schema, name), schema)

    await asyncio.to_thread(alembic.command.check, config)


@every_service
async def test_there_is_a_way_back(postgres_server: Postgres, schema: Schema) -> None:
    name = await databases.migrated(postgres_server, schema, f"{schema.name}_back")
    config = migrations.config(databases.owner(postgres_server, schema, name), schema)

    await asyncio.to_thread(alembic.command.downgrade, config, "base")
    await asyncio.to_thread(alembic.command.upgrade, config, "head")

    await asyncio.to_thread(alembic.command.check, config)


@every_service
async def test_two_migrations_at_once_do_no_harm(postgres_server: Postgres, schema: Schema) -> None:
    empty = await databases.made(postgres_server, schema, f"{schema.name}_migrated_twice")

    # each in a process of its own: Alembic's context is one per process
    runs = [await _migrating(empty, schema) for _ in range(3)]
    codes = [await run.wait() for run in runs]

    assert codes == [0, 0, 0]


async def _migrating(settings: PostgresOwnerSettings, schema: Schema) -> asyncio.subprocess.Process:
    values = settings.model_dump(mode="json", exclude_none=True)
    secrets = {"postgres_password": "app", "postgres_owner_password": "owner"}
    environment = {name.upper(): _text(value) for name, value in {**values, **secrets}.items()}
    program = Path(sys.executable).parent / schema.service
    return await asyncio.create_subprocess_exec(program, "migrate", env={**os.environ, **environment})


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@every_service
async def test_the_services_own_role_cannot_change_the_schema(postgres_server: Postgres, schema: Schema) -> None:
    name = await databases.migrated(postgres_server, schema, f"{schema.name}_roles")
    settings = PostgresSettings(**databases.place(postgres_server, schema, name))

    async with pools.create_pool(settings, schema, 1) as pool:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(f"CREATE TABLE {schema.name}.mine (id int)")


@every_service
async def test_a_service_is_not_ready_on_an_older_schema(postgres_server: Postgres, schema: Schema) -> None:
    name = await databases.migrated(postgres_server, schema, f"{schema.name}_outdated")
    config = migrations.config(databases.owner(postgres_server, schema, name), schema)
    settings = PostgresSettings(**databases.place(postgres_server, schema, name))

    faults = []
    async with pools.create_pool(settings, schema, 1) as pool:
        for step in ("-1", "+1"):
            change = alembic.command.downgrade if step == "-1" else alembic.command.upgrade
            await asyncio.to_thread(change, config, step)
            faults.append(await _fault(pool, schema))

    assert faults == [f"the schema is older than the service: run `{schema.service} migrate`", None]


async def _fault(pool: asyncpg.Pool, schema: Schema) -> str | None:
    """What `watch` finds at its first look."""
    state, stopping = Health("postgres"), asyncio.Event()
    watching = asyncio.create_task(pool_health.watch(pool, schema, state, stopping))
    async with asyncio.timeout(120):
        while state.faults.get("postgres") == STARTING:
            await asyncio.sleep(0.01)
    stopping.set()
    await watching
    return state.faults.get("postgres")


async def test_migrate_waits_while_postgres_starts_up(postgres_server: Postgres) -> None:
    schema = favorites_api.tables.SCHEMA
    empty = await databases.made(postgres_server, schema, "starting_up")

    async with starting_up(postgres_server, refusals=2) as (port, refused):
        settings = empty.model_copy(update={"postgres_port": [port]})
        await asyncio.to_thread(migrations.upgrade, settings, schema)

    assert len(refused) == 2
    await asyncio.to_thread(alembic.command.check, migrations.config(empty, schema))


@asynccontextmanager
async def starting_up(server: Postgres, refusals: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port that answers as a Postgres that starts up, then leads to the real one."""
    refused: list[bytes] = []
    message = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(refused) < refusals:
            refused.append(await reader.readexactly(8))  # whether there is TLS
            writer.write(b"N")
            await reader.read(1000)
            writer.write(b"E" + struct.pack("!i", len(message) + 4) + message)
        else:
            there_reader, there = await asyncio.open_connection(server.host, server.port)
            await asyncio.gather(passed_on(reader, there), passed_on(there_reader, writer))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as front:
        yield front.sockets[0].getsockname()[1], refused


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
    writer.close()
