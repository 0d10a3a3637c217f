"""What tests/local/test_leftovers.py starts and ends: a Postgres, a whole stack, and a test that waits for ever."""

import asyncio

from running_stack import running_stack
from vapteke_local import vaptekesync
from vapteke_local.postgres import Postgres


async def test_that_never_ends(postgres_server: Postgres) -> None:
    async with vaptekesync.serve([]) as legacy, running_stack(legacy):
        await asyncio.Event().wait()
