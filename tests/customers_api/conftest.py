"""A migrated database per test, cloned from a template, and an import that runs."""

from collections.abc import AsyncIterator, Callable
from uuid import UUID

import asyncpg
import databases
import httpx
import pytest
from customers_api.app import create_app
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import ServeSettings, WorkSettings
from customers_api.tables import SCHEMA
from legacy_events import start_import
from tokens_for import SECRET_KEY, bearer
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health


@pytest.fixture(scope="session")
async def template(postgres_server: Postgres) -> str:
    return await databases.migrated(postgres_server, SCHEMA, "customers_template")


@pytest.fixture
async def database_name(postgres_server: Postgres, template: str) -> AsyncIterator[str]:
    async with databases.cloned(postgres_server, template) as name:
        yield name


@pytest.fixture(scope="session")
def settings_of(postgres_server: Postgres) -> Callable[[str], WorkSettings]:
    """By the database's name."""
    kafka = ["127.0.0.1:1"]
    return lambda name: WorkSettings(**databases.place(postgres_server, SCHEMA, name), kafka_bootstrap_servers=kafka)


@pytest.fixture
def settings(settings_of: Callable[[str], WorkSettings], database_name: str) -> WorkSettings:
    return settings_of(database_name)


@pytest.fixture
async def pool(settings: WorkSettings) -> AsyncIterator[asyncpg.Pool]:
    async with pools.create_pool(settings, SCHEMA, 10) as pool:
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
