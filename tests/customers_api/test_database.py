"""Migrations: safe at once, and the same tables as the models."""

import asyncio

import alembic.command
import asyncpg
import pytest
from customers_api import database
from customers_api.settings import MigrateSettings, WorkSettings
from vapteke_local import postgres
from vapteke_local.postgres import Postgres, Role


@pytest.fixture
def owner(settings: WorkSettings, template: str) -> MigrateSettings:
    return MigrateSettings(
        **settings.model_dump(), postgres_owner_user="customers_owner", postgres_owner_password="owner"
    )


async def test_the_migrations_make_what_the_models_say(owner: MigrateSettings) -> None:
    await asyncio.to_thread(alembic.command.check, database.alembic_config(owner))


async def test_customers_who_were_there_before_the_counts_are_counted(
    owner: MigrateSettings, pool: asyncpg.Pool
) -> None:
    config = database.alembic_config(owner)
    await asyncio.to_thread(alembic.command.downgrade, config, "0001")
    await pool.execute("INSERT INTO customers (version, deleted_at) VALUES (1, NULL), (1, NULL), (1, now())")

    await asyncio.to_thread(alembic.command.upgrade, config, "head")

    await pool.execute("INSERT INTO customers (version) VALUES (1)")
    assert tuple(await pool.fetchrow("SELECT sum(living)::int, sum(deleted)::int FROM customer_counts")) == (3, 1)


async def test_two_migrations_at_once_do_no_harm(
    owner: MigrateSettings, postgres_server: Postgres, template: str
) -> None:
    roles = [Role(name="customers_owner", password="owner", owner=True), Role(name="customers_app", password="app")]
    await postgres.ensure_database(postgres_server, roles, "migrated_twice")
    empty = owner.model_copy(update={"postgres_db": "migrated_twice"})

    # each in a process of its own: Alembic's context is one per process
    runs = [await _migrating(empty) for _ in range(3)]
    codes = [await run.wait() for run in runs]

    assert codes == [0, 0, 0]


async def _migrating(settings: MigrateSettings) -> asyncio.subprocess.Process:
    import os
    import sys
    from pathlib import Path

    values = settings.model_dump(mode="json", include=set(MigrateSettings.model_fields))
    secrets = {"postgres_password": "app", "postgres_owner_password": "owner"}
    environment = {name.upper(): str(value) for name, value in {**values, **secrets}.items() if value is not None}
    program = Path(sys.executable).parent / "customers-api"
    return await asyncio.create_subprocess_exec(program, "migrate", env={**os.environ, **environment})


async def test_the_services_own_role_cannot_change_the_schema(pool: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("CREATE TABLE customers.mine (id int)")
