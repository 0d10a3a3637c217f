"""A service's migrated database: made once, cloned for each test."""

import asyncio
import itertools
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from vapteke_local.servers import postgres
from vapteke_local.servers.postgres import Postgres, Role
from vapteke_shared.postgres import migrations
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process.settings import PostgresOwnerSettings, PostgresSettings

_numbers = itertools.count(1)


def place(server: Postgres, schema: Schema, database: str) -> dict[str, Any]:
    """The settings with which the service finds it."""
    return {
        "postgres_host": server.host,
        "postgres_port": server.port,
        "postgres_db": database,
        "postgres_user": f"{schema.name}_app",
        "postgres_password": "app",
    }


def owner(server: Postgres, schema: Schema, database: str) -> PostgresOwnerSettings:
    of_owner = {"postgres_owner_user": f"{schema.name}_owner", "postgres_owner_password": "owner"}
    return PostgresOwnerSettings(**place(server, schema, database), **of_owner)


async def made(server: Postgres, schema: Schema, database: str) -> PostgresOwnerSettings:
    """An empty database with the service's two roles."""
    roles = [
        Role(name=f"{schema.name}_owner", password="owner", owner=True),
        Role(name=f"{schema.name}_app", password="app"),
    ]
    await postgres.ensure_database(server, roles, database)
    return owner(server, schema, database)


async def migrated(server: Postgres, schema: Schema, database: str) -> str:
    settings = await made(server, schema, database)
    await asyncio.to_thread(migrations.upgrade, settings, schema)
    return database


@asynccontextmanager
async def cloned(server: Postgres, template: str) -> AsyncIterator[str]:
    name = f"{template}_{next(_numbers)}"
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield name
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def run_command(settings: PostgresSettings, service: str, *arguments: str) -> str:
    """A command of the service as an operator calls it, on this database; what it prints."""
    code, output, _ = await try_command(settings, service, *arguments)
    assert code == 0
    return output


async def try_command(settings: PostgresSettings, service: str, *arguments: str) -> tuple[int | None, str, str]:
    """The exit code of such a command, its standard output, and its error output."""
    process = await start_command(settings, service, *arguments)
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def start_command(settings: PostgresSettings, service: str, *arguments: str, output: int = PIPE) -> Process:
    """Such a command, while it runs. `output` is where its standard output goes."""
    given = {
        "POSTGRES_HOST": ",".join(settings.postgres_host),
        "POSTGRES_PORT": ",".join(map(str, settings.postgres_port)),
        "POSTGRES_DB": settings.postgres_db,
        "POSTGRES_USER": settings.postgres_user,
        "POSTGRES_PASSWORD": settings.postgres_password.get_secret_value(),
    }
    program = Path(sys.executable).parent / service
    env = {**os.environ, **given}
    return await asyncio.create_subprocess_exec(program, *arguments, env=env, stdout=output, stderr=PIPE)
