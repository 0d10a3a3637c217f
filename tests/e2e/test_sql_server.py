"""An import from a real SQL Server, where its image can be had; everywhere else the stand-in serves the other tests."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import containers
import pytest
from containers import SqlServer
from running_stack import RunningStack, running_stack, verdict
from vapteke_local import people

SEED, COUNT = 5, 3_000
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(containers.why_no_sql_server() is not None, reason=str(containers.why_no_sql_server())),
]


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    with containers.sql_server() as server:
        await seeded(server)
        encrypted = {"VAPTEKESYNC_ENCRYPT": "yes", "VAPTEKESYNC_TRUST_SERVER_CERTIFICATE": "true"}
        async with running_stack(server, **encrypted) as stack:
            yield stack


async def seeded(server: SqlServer) -> None:
    variables = {
        "VAPTEKESYNC_HOST": server.host,
        "VAPTEKESYNC_PORT": str(server.port),
        "VAPTEKESYNC_DB": server.database,
        "VAPTEKESYNC_USER": server.user,
        "VAPTEKESYNC_PASSWORD": server.password,
        "VAPTEKESYNC_ADMIN_PASSWORD": server.admin_password,
        "VAPTEKESYNC_TRUST_SERVER_CERTIFICATE": "true",
        "SEED": str(SEED),
        "CUSTOMERS": str(COUNT),
    }
    program = (sys.executable, "-m", "vapteke_local.vaptekesync.seed")
    seed = await asyncio.create_subprocess_exec(*program, env={**os.environ, **variables})
    assert await seed.wait() == 0


async def test_imports_from_a_real_server_are_exact(stack: RunningStack) -> None:
    first, second = await stack.imported(), await stack.imported()

    assert verdict(first) == people.truth(SEED, COUNT)
    assert verdict(second) == people.truth_again(SEED, COUNT)
