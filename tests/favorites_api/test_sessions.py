"""No request leaves state in its Postgres session: `serve` does not reset its connections."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import sessions
from favorites_api import endpoints
from favorites_api.tables import SCHEMA
from vapteke_shared.process.settings import WorkSettings

URL = "/rest/v1/favorites/"
ONE = {"user_id": 14722, "item_id": 10}
FILTERS = "?id=1&user_id=14722&item_id=10&created_at_from=2023-12-21T04:20:37Z&limit=1"

# By the endpoint's name; customer 2 is deleted.
CALLS: dict[str, list[tuple[str, str, Any]]] = {
    "add_favorite": [("POST", URL, body) for body in (ONE, ONE, ONE | {"user_id": 2})],
    "add_favorites": [
        ("POST", f"{URL}bulk/", {"user_id": user, "item_ids": list(range(10, 200))}) for user in (14722, 2)
    ],
    "check_favorites": [("POST", f"{URL}check/", {"user_id": 14722, "item_ids": [10, 11]})],
    "list_favorites": [("GET", f"{URL}{query}", None) for query in ("", FILTERS, "?count=false", "?limit=0")],
    "delete_favorites": [("DELETE", URL, {"id": [1, 2, 999]}), ("DELETE", f"{URL}?id=3", None)],
}


@pytest.fixture
async def pool(settings: WorkSettings) -> AsyncIterator[asyncpg.Pool]:
    async with sessions.only_one(settings, SCHEMA) as pool:
        yield pool


async def test_no_request_leaves_anything_in_its_session(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO deleted_customers (customer_id, version, deleted_at) VALUES (2, 2, now())")
    session = await pool.fetchval("SELECT pg_backend_pid()")

    left = {}
    for name, calls in CALLS.items():
        for method, path, body in calls:
            status = await sessions.asked(client, method, path, body)
            left[name, path, status] = await sessions.left(pool)

    assert sessions.endpoints([endpoints.router]) == set(CALLS)
    assert {call: found for call, found in left.items() if found} == {}
    assert {status for _, _, status in left} == {200, 201, 404, 422}
    assert session == await pool.fetchval("SELECT pg_backend_pid()")
