"""What a request leaves in its session: `serve` takes its connections back as they are."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
from fastapi import APIRouter
from fastapi.routing import APIRoute
from vapteke_shared.postgres import pools
from vapteke_shared.postgres.pools import Pool
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process.settings import PostgresSettings

LEFT = """
SELECT name FROM pg_settings WHERE source = 'session' AND setting <> reset_val
    AND (name, setting) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))
UNION ALL SELECT 'an advisory lock' FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name <> ''
UNION ALL SELECT 'listens to ' || name FROM pg_listening_channels() AS name
UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
UNION ALL SELECT 'statement ' || name FROM pg_prepared_statements WHERE name NOT LIKE '\\_\\_asyncpg%'
"""


def only_one(settings: PostgresSettings, schema: Schema) -> AbstractAsyncContextManager[Pool]:
    """A pool as `serve` has it, but all requests share one session."""
    pool: AbstractAsyncContextManager[Pool] = pools.create_pool(settings, schema, 1, reset=pools.no_reset)
    return pool


async def left(pool: Pool) -> list[str]:
    """Beside what the pool itself sets in each."""
    return [row[0] for row in await pool.fetch(LEFT, list(pool.session), list(pool.session.values()))]


async def asked(client: httpx.AsyncClient, method: str, path: str, body: Any) -> int:
    """The answer's status, which must be a failure of the caller at the most."""
    answer = await client.request(method, path, json=body)
    assert answer.status_code < 500, answer.text
    return answer.status_code


def endpoints(routers: Iterable[APIRouter]) -> set[str]:
    """The names of what is to be asked."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return {route.name for route in routes if route.include_in_schema}
