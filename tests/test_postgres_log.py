"""Our roles' statements stay out of Postgres' log, even on a server that logs everything."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from vapteke_local.servers import postgres_binaries
from vapteke_local.servers.postgres import Postgres

ROLES = Path(__file__).parent.parent / "deploy/postgres/roles.sql"
PASSWORDS = {"customers_owner": "owner", "customers_app": "app", "favorites_owner": "owner", "favorites_app": "app"}
EVERYTHING = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_min_error_statement": "error",
    "log_error_verbosity": "verbose",
}
DATABASE = "logged"
DEADLINE_SECONDS = 60


async def roles_sql(server: Postgres, folder: Path) -> str:
    """Run as an operator does; what psql said."""
    for name, password in PASSWORDS.items():
        (folder / f"{name}_password").write_text(password)
    psql = await postgres_binaries.plain(None) / "psql"
    command: list[str | Path] = [psql, "-qX", "-h", server.host, "-p", str(server.port), "-U", server.user]
    options: list[str | Path] = ["-d", DATABASE, "-v", f"secrets={folder}", "-f", ROLES]
    environment = {**os.environ, "PGPASSWORD": server.password}
    run = partial(subprocess.run, env=environment, capture_output=True, text=True, check=True)
    ran = await asyncio.to_thread(run, [*command, *options])
    return str(ran.stdout + ran.stderr)


@pytest.fixture
async def server(postgres_server: Postgres, tmp_path: Path) -> AsyncIterator[Postgres]:
    """With a database for which everything is logged, and our roles in it."""
    connection = await asyncpg.connect(postgres_server.dsn)
    await connection.execute(f"CREATE DATABASE {DATABASE}")
    for name, value in EVERYTHING.items():
        await connection.execute(f"ALTER DATABASE {DATABASE} SET {name} = '{value}'")
    for _ in range(2):
        assert await roles_sql(postgres_server, tmp_path) == ""
    yield postgres_server
    await connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    await connection.close()


@asynccontextmanager
async def connected(server: Postgres, user: str, password: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn_of(DATABASE, user, password))
    try:
        yield connection
    finally:
        await connection.close()


async def fail_with(connection: asyncpg.Connection, value: str) -> None:
    """Statements that go well, and that fail by their value, their row and their parameter."""
    await connection.execute("CREATE TEMPORARY TABLE people (email text UNIQUE, city int CHECK (city > 0))")
    await connection.execute("INSERT INTO people VALUES ($1, 1)", value)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO people VALUES ($1, 1)", value)
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO people VALUES ($1, 0)", value + "2")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.execute("SELECT 1 / length(replace($1::text, $1, ''))", value)


async def logged(log: Path, mark: str) -> str:
    """The log up to a statement that holds the mark, which is written last."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while mark not in (text := log.read_text(errors="replace")):
        assert time.monotonic() < deadline
    return text


@pytest.mark.parametrize("role", PASSWORDS)
async def test_no_value_of_a_roles_statements_is_logged(server: Postgres, server_data: Path, role: str) -> None:
    value, mark = f"{uuid4()}@example.com", str(uuid4())

    async with connected(server, role, PASSWORDS[role]) as connection:
        await fail_with(connection, value)
        await connection.execute(f"SELECT '{mark}'")

    text = await logged(server_data / "postgres/postgres.log", mark)
    assert value not in text
    assert "duplicate key value violates unique constraint" in text


async def test_without_the_settings_of_the_roles_every_value_would_be_logged(
    server: Postgres, server_data: Path
) -> None:
    value, mark = f"{uuid4()}@example.com", str(uuid4())

    async with connected(server, server.user, server.password) as connection:
        await fail_with(connection, value)
        await connection.execute(f"SELECT '{mark}'")

    text = await logged(server_data / "postgres/postgres.log", mark)
    assert f"Key (email)=({value}) already exists" in text
    assert f"'{value}'" in text


async def test_no_password_of_a_role_is_logged(server: Postgres, server_data: Path, tmp_path: Path) -> None:
    mark, log = str(uuid4()), server_data / "postgres/postgres.log"
    before = len(log.read_text(errors="replace"))

    await roles_sql(server, tmp_path)
    async with connected(server, server.user, server.password) as connection:
        await connection.execute(f"SELECT '{mark}'")

    assert "PASSWORD" not in (await logged(log, mark))[before:]
