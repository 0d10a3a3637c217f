"""No request leaves anything in its session: `serve` takes its connections back as they are."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import sessions
from customers_api.customers import endpoints as customer_endpoints
from customers_api.customers import list_endpoints
from customers_api.imports import endpoints as import_endpoints
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA

CUSTOMERS, IMPORTS = "/rest/v1/customers/", "/rest/v1/imports/"
ROUTERS = (customer_endpoints.router, list_endpoints.router, import_endpoints.router)
PERSON = {"phone": "50110556645", "firstname": "Виктор"}
FILTERS = "?firstname=в&include_deleted=true&updated_since=2024-01-01&id=1&birthday_from=1980-01-01&limit=1"

# By the endpoint's name: the customer is 1, another one 2, and the import whose id stands for {}.
CALLS: dict[str, list[tuple[str, str, Any]]] = {
    "create_customer": [("POST", CUSTOMERS, PERSON), ("POST", CUSTOMERS, PERSON | {"phone": "65979638297"})],
    "get_customer": [("GET", f"{CUSTOMERS}1/", None), ("GET", f"{CUSTOMERS}99/", None)],
    "change_customer": [("PATCH", f"{CUSTOMERS}1/", {"firstname": "Анна"}), ("PATCH", f"{CUSTOMERS}1/", PERSON)],
    "change_phone": [("PATCH", f"{CUSTOMERS}1/phone/", {"phone": phone}) for phone in ("65979638298", "65979638297")],
    "list_customers": [("GET", CUSTOMERS, None), ("GET", CUSTOMERS + FILTERS, None)],
    "look_up_customers": [("POST", f"{CUSTOMERS}lookup/", {"ids": [1]})],
    "delete_customer": [("DELETE", f"{CUSTOMERS}1/", None)],
    "restore_customer": [("POST", f"{CUSTOMERS}1/restore/", None)],
    "import_customers": [("GET", "/grpc/v1/service/import_customers/", None)],
    "start_import": [("POST", IMPORTS, None)],
    "list_imports": [("GET", IMPORTS, None)],
    "get_import": [("GET", IMPORTS + "{}/", None)],
    "cancel_import": [("POST", IMPORTS + "{}/cancel/", None)],
    "list_rejections": [("GET", IMPORTS + "{}/rejections/", None)],
}


@pytest.fixture
async def pool(settings: WorkSettings) -> AsyncIterator[asyncpg.Pool]:
    async with sessions.only_one(settings, SCHEMA) as pool:
        yield pool


async def test_no_request_leaves_anything_in_its_session(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    session = await pool.fetchval("SELECT pg_backend_pid()")

    left = {}
    for name, calls in CALLS.items():
        for method, path, body in calls:
            place = path.format(await pool.fetchval("SELECT id FROM imports"))
            status = await sessions.asked(client, method, place, body)
            left[name, path, status] = await sessions.left(pool)

    assert sessions.endpoints(ROUTERS) == set(CALLS)
    assert {call: found for call, found in left.items() if found} == {}
    assert {status for _, _, status in left} == {200, 201, 202, 404, 409, 422}
    assert session == await pool.fetchval("SELECT pg_backend_pid()")


@pytest.mark.parametrize(
    ("leaving", "found"),
    [
        ("SET plan_cache_mode = force_custom_plan", "plan_cache_mode"),
        ("SELECT pg_advisory_lock(1)", "an advisory lock"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor c"),
        ("LISTEN c", "listens to c"),
        ("CREATE TEMPORARY TABLE c (id int)", "table c"),
        ("PREPARE c AS SELECT 1", "statement c"),
    ],
)
async def test_what_is_left_is_found(pool: asyncpg.Pool, leaving: str, found: str) -> None:
    await pool.execute(leaving)

    assert await sessions.left(pool) == [found]


async def test_an_open_transaction_is_rolled_back(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO firstnames (name) VALUES ('Анна')")

    assert await pool.fetchval("SELECT count(*) FROM firstnames") == 0
