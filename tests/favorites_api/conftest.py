"""A migrated database for each test, cloned from a template, and the REST API on top of it."""

from collections.abc import AsyncIterator

import asyncpg
import databases
import httpx
import pytest
from favorites_api.app import create_app
from favorites_api.tables import SCHEMA
from tokens_for import SECRET_KEY, bearer
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ServeSettings, WorkSettings


@pytest.fixture(scope="session")
async def template(postgres_server: Postgres) -> str:
    return await databases.migrated(postgres_server, SCHEMA, "favorites_template")


@pytest.fixture
async def database_name(postgres_server: Postgres, template: str) -> AsyncIterator[str]:
    async with databases.cloned(postgres_server, template) as name:
        yield name


@pytest.fixture
def settings(postgres_server: Postgres, database_name: str) -> WorkSettings:
    place = databases.place(postgres_server, SCHEMA, database_name)
    return WorkSettings(**place, kafka_bootstrap_servers=["127.0.0.1:1"])


@pytest.fixture
async def pool(settings: WorkSettings) -> AsyncIterator[asyncpg.Pool]:
    async with pools.create_pool(settings, SCHEMA, 10) as pool:
        yield pool


@pytest.fixture
async def client(settings: WorkSettings, pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(ServeSettings(**settings.model_dump(), secret_key=SECRET_KEY), pool, Health())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer()) as client:
        yield client
