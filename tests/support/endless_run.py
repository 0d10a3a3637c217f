"""A test that never ends, with a Postgres, a stack and a shell; tests/local/machine/test_cleanup.py ends it."""

import asyncio

from running_stack import running_stack
from vapteke_local import vaptekesync
from vapteke_local.servers.postgres import Postgres


async def test_that_never_ends(postgres_server: Postgres) -> None:
    async with vaptekesync.serve([]) as legacy, running_stack(legacy):
        shell = await asyncio.create_subprocess_exec("bash", "-c", "while sleep 1; do :; done")
        await shell.wait()
