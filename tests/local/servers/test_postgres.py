"""Postgres as the stack starts it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from vapteke_local.machine import ports
from vapteke_local.servers import postgres
from vapteke_local.servers.postgres import Postgres, Role, Unreachable

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that Postgres may enter when we are root; it may not enter pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="vapteke-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


async def test_postgres_is_version_18_durable_and_lowercases_cyrillic(postgres_server: Postgres) -> None:
    connection = await asyncpg.connect(postgres_server.dsn)
    shown = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
    major, lowered = await connection.fetchrow("SELECT split_part(version(), '.', 1), lower('ЩУКА')")
    await connection.close()

    assert (major, lowered) == ("PostgreSQL 18", "щука")
    assert shown == {"fsync": "on", "synchronous_commit": "on"}


async def test_postgres_listens_on_127_0_0_1_alone(postgres_server: Postgres) -> None:
    listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]

    assert [tuple(a) for a in listening if a.port == postgres_server.port] == [("127.0.0.1", postgres_server.port)]


async def test_postgres_requires_the_password(postgres_server: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.dsn_of("postgres", password="wrong"))


@only_root
async def test_postgres_is_not_root_when_we_are(postgres_server: Postgres) -> None:
    assert psutil.Process(postgres_server.process.pid).username() == "nobody"


@only_root
async def test_postgres_names_the_folder_that_it_cannot_enter(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=f"cannot enter {tmp_path}"):
        async with postgres.serve(tmp_path / "data"):
            pass


async def test_postgres_keeps_rows_port_and_password_over_a_kill_and_a_restart(data: Path) -> None:
    async with postgres.serve(data) as first:
        connection = await asyncpg.connect(first.dsn)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        first.process.kill()
    async with postgres.serve(data) as second:
        connection = await asyncpg.connect(second.dsn)
        answer = await connection.fetchval("SELECT answer FROM kept")
        await connection.close()

    assert (answer, second.dsn) == (42, first.dsn)
    assert ports.is_free(second.port)


@only_linux
def test_postgres_is_gone_with_all_its_processes_when_we_are_killed(data: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(data)], stdout=subprocess.PIPE)
    with parent, parent.stdout as output:  # type: ignore[union-attr]
        server = psutil.Process(int(output.readline()))
        family = [server, *server.children(recursive=True)]
        parent.send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs(family, timeout=5)

    assert len(family) > 1
    assert alive == []


PARENT = """
import asyncio, sys
from pathlib import Path
from vapteke_local.servers import postgres

async def main():
    async with postgres.serve(Path(sys.argv[1])) as server:
        print(server.process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_an_owner_creates_schemas_and_an_app_role_does_not(postgres_server: Postgres) -> None:
    roles = [Role(name="tried_owner", password="one", owner=True), Role(name="tried_app", password="tw'o")]
    for _ in range(2):
        await postgres.ensure_database(postgres_server, roles, "tried")
    owner = await asyncpg.connect(postgres_server.dsn_of("tried", "tried_owner", "one"))
    app = await asyncpg.connect(postgres_server.dsn_of("tried", "tried_app", "tw'o"))

    await owner.execute("CREATE SCHEMA tried")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("CREATE SCHEMA mine")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("CREATE TABLE public.mine ()")

    await owner.close()
    await app.close()
