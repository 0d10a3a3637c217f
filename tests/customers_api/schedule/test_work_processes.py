"""Processes `customers-api work` with a schedule, without Kafka: who leads requests the imports."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import databases
import pytest
from customers_api.tables import SCHEMA
from legacy_events import end_import
from vapteke_local.machine import ports
from vapteke_local.servers.postgres import Postgres


async def work(server: Postgres, database: str) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        **{name.upper(): str(value) for name, value in databases.place(server, SCHEMA, database).items()},
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "METRICS_PORT": str(ports.free_port()),
        "IMPORT_SCHEDULE": "every 1s",
    }
    program = Path(sys.executable).parent / "customers-api"
    return await asyncio.create_subprocess_exec(program, "work", env=environment, stdout=asyncio.subprocess.DEVNULL)


async def end_next_import(pool: asyncpg.Pool) -> None:
    async with asyncio.timeout(120):
        while not await pool.fetchval("SELECT count(*) FROM imports WHERE finished_at IS NULL"):
            await asyncio.sleep(0.02)
    await end_import(pool)


@pytest.mark.timeout(300)
async def test_two_processes_request_one_import_at_a_time_though_either_is_killed(
    postgres_server: Postgres, database_name: str, pool: asyncpg.Pool
) -> None:
    processes = [await work(postgres_server, database_name) for _ in range(2)]
    try:
        await end_next_import(pool)
        for n in range(2):
            processes[n].kill()  # one of them leads
            await end_next_import(pool)
            processes.append(await work(postgres_server, database_name))
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        for process in processes:
            await asyncio.wait_for(process.wait(), 60)

    assert {row[0] for row in await pool.fetch("SELECT requested_by FROM imports")} == {"schedule"}
