"""A migrated database per test, cloned from a template, and an import that runs."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import asyncpg
import httpx
import pytest
from customers_api import database, legacy_customers
from customers_api.app import create_app
from customers_api.consumer import ImportConsumers
from customers_api.settings import MigrateSettings, ServeSettings, WorkSettings
from legacy_events import start_import
from tokens_for import SECRET_KEY, bearer
from vapteke_local import postgres
from vapteke_local.postgres import Postgres, Role
from vapteke_shared.health import Health

TEMPLATE = "customers_template"
OWNER, APP = "customers_owner", "customers_app"

_numbers = itertools.count(1)


def settings_for(server: Postgres, name: str) -> dict[str, object]:
    return {
        "postgres_host": server.host,
        "postgres_port": server.port,
        "postgres_db": name,
        "postgres_user": APP,
        "postgres_password": "app",
    }


@pytest.fixture(scope="session")
async def template(postgres_server: Postgres) -> str:
    roles = [Role(name=OWNER, password="owner", owner=True), Role(name=APP, password="app")]
    await postgres.ensure_database(postgres_server, roles, TEMPLATE)
    owner = {"postgres_owner_user": OWNER, "postgres_owner_password": "owner"}
    migrate = MigrateSettings(**settings_for(postgres_server, TEMPLATE), **owner)
    await asyncio.to_thread(database.migrate, migrate)
    return TEMPLATE


@pytest.fixture
async def database_name(postgres_server: Postgres, template: str) -> AsyncIterator[str]:
    name = f"customers_{next(_numbers)}"
    connection = await asyncpg.connect(postgres_server.dsn)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield name
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture(scope="session")
def settings_of(postgres_server: Postgres) -> Callable[[str], WorkSettings]:
    """By the database's name."""
    kafka = ["127.0.0.1:1"]
    return lambda name: WorkSettings(**settings_for(postgres_server, name), kafka_bootstrap_servers=kafka)


@pytest.fixture
def settings(settings_of: Callable[[str], WorkSettings], database_name: str) -> WorkSettings:
    return settings_of(database_name)


@pytest.fixture
async def pool(settings: WorkSettings) -> AsyncIterator[asyncpg.Pool]:
    async with database.create_pool(settings, 10, legacy_customers.prepare) as pool:
        yield pool


@pytest.fixture
def consumers(settings: WorkSettings, pool: asyncpg.Pool) -> ImportConsumers:
    return ImportConsumers(settings, pool, Health())


@pytest.fixture
async def running(pool: asyncpg.Pool) -> UUID:
    return await start_import(pool)


@pytest.fixture
async def client(settings: WorkSettings, pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(ServeSettings(**settings.model_dump(), secret_key=SECRET_KEY), pool, Health())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer()) as client:
        yield client
