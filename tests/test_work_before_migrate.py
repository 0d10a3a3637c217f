"""`work` of both services, started before `migrate`: it waits for the schema, and does not end."""

import asyncio
import os
import sys
from pathlib import Path

import customers_api.tables
import databases
import favorites_api.tables
import httpx
import pytest
from running_stack import START_SECONDS
from vapteke_local.machine import ports
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import migrations
from vapteke_shared.postgres.tables import Schema


@pytest.mark.parametrize("schema", [customers_api.tables.SCHEMA, favorites_api.tables.SCHEMA], ids=lambda s: s.name)
async def test_work_waits_until_the_schema_is_created(postgres_server: Postgres, schema: Schema) -> None:
    database, port = f"{schema.name}_without_schema", ports.free_port()
    owner = await databases.made(postgres_server, schema, database)
    environment = {
        **os.environ,
        **{name.upper(): str(value) for name, value in databases.place(postgres_server, schema, database).items()},
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "METRICS_PORT": str(port),
    }
    program = Path(sys.executable).parent / schema.service
    process = await asyncio.create_subprocess_exec(program, "work", env=environment, stdout=asyncio.subprocess.DEVNULL)
    try:
        missing = f"the schema is missing: run `{schema.service} migrate`"
        await _until_postgres_is(missing, port, process)
        await asyncio.to_thread(migrations.upgrade, owner, schema)
        await _until_postgres_is(None, port, process)
    finally:
        if process.returncode is None:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def _until_postgres_is(fault: str | None, port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as client:
        while True:
            try:
                response = await client.get(f"http://127.0.0.1:{port}/health/ready")
                if response.json().get("faults", {}).get("postgres") == fault:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            assert process.returncode is None, "the process has ended"
            await asyncio.sleep(0.05)
