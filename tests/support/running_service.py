"""A service's `serve` as a real process, over a database of the test's own."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import databases
import httpx
from running_stack import START_SECONDS
from tokens_for import SECRET_KEY
from vapteke_local.machine import ports
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres.tables import Schema


@asynccontextmanager
async def running_service(
    server: Postgres, schema: Schema, database: str, output: Path = Path(os.devnull), **variables: str
) -> AsyncIterator[str]:
    """Its base URL, once it is ready; what it says goes to the file `output`."""
    port = ports.free_port()
    environment = {
        **{name.upper(): str(value) for name, value in databases.place(server, schema, database).items()},
        "SECRET_KEY": SECRET_KEY,
        "HTTP_PORT": str(port),
        "METRICS_PORT": str(ports.free_port()),
        **variables,
    }
    with output.open("wb") as sink:
        program = Path(sys.executable).parent / schema.service
        process = await asyncio.create_subprocess_exec(program, "serve", env={**os.environ, **environment}, stdout=sink)
    try:
        await _ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


async def _ready(url: str, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(f"{url}/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not yet listening
            assert process.returncode is None, "it has ended"
            assert time.monotonic() < deadline, "it does not get ready"
            await asyncio.sleep(0.05)
