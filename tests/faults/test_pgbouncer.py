"""Behind pgbouncer, session mode works, and the other modes are rejected by name."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import databases
import httpx
import pgbouncer
import pytest
from customers_api.tables import SCHEMA
from running_service import running_service
from tokens_for import bearer
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import migrations, pool_health, pools
from vapteke_shared.process.connection_errors import Misconfigured
from vapteke_shared.process.health import STARTING, Health
from vapteke_shared.process.settings import PostgresOwnerSettings, PostgresSettings

pytestmark = pytest.mark.skipif(pgbouncer.PROGRAM is None, reason=pgbouncer.MISSING)
USERS = {"customers_app": "app", "customers_owner": "owner"}


async def test_session_mode_works(server_data: Path, postgres_server: Postgres) -> None:
    empty = await databases.made(postgres_server, SCHEMA, "behind_session_mode")
    async with pgbouncer.serve(server_data / "session", postgres_server, "session", USERS) as port:
        behind = empty.model_copy(update={"postgres_port": [port]})
        await asyncio.to_thread(migrations.upgrade, behind, SCHEMA)

        service = running_service(postgres_server, SCHEMA, behind.postgres_db, POSTGRES_PORT=str(port))
        async with service as url, httpx.AsyncClient(base_url=url, headers=bearer()) as client:
            made = await client.post("/rest/v1/customers/", json={"phone": "79025550001"})
            found = await client.get(f"/rest/v1/customers/{made.json()['id']}/")

    assert (made.status_code, found.json()) == (201, made.json())


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_mode_without_sessions_is_refused_by_name(
    server_data: Path, postgres_server: Postgres, mode: str
) -> None:
    empty = await databases.made(postgres_server, SCHEMA, f"behind_{mode}_mode")
    async with pgbouncer.serve(server_data / mode, postgres_server, mode, USERS) as port:
        behind = empty.model_copy(update={"postgres_port": [port]})
        text = (
            f"Postgres at 127.0.0.1:{port} is a pgbouncer in transaction or statement mode, which keeps no session:"
            " set pool_mode = session for this database and user, or use Postgres directly"
        )

        with pytest.raises(SystemExit) as refused:
            await asyncio.to_thread(migrations.upgrade, behind, SCHEMA)
        fault = await first_fault(behind)

    assert refused.value.code == text
    assert fault == text


async def first_fault(behind: PostgresOwnerSettings) -> str | None:
    """What the health of a process says once it has looked; the pool refuses for the same reason."""
    given: dict[str, Any] = {name: getattr(behind, name) for name in PostgresSettings.model_fields}
    state, stopping = Health("postgres"), asyncio.Event()
    async with pools.create_pool(PostgresSettings(**given), SCHEMA, 2) as pool:
        watching = asyncio.create_task(pool_health.watch(pool, SCHEMA, state, stopping))
        async with asyncio.timeout(30):
            while state.faults.get("postgres") == STARTING:
                await asyncio.sleep(0.02)
        with pytest.raises((Misconfigured, asyncpg.PostgresError)):
            await pool.fetch("SELECT 1")
        stopping.set()
        await watching
    return state.faults.get("postgres")
