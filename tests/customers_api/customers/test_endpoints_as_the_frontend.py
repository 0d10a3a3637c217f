"""The REST door, asked as the frontend asks."""

from uuid import UUID

import asyncpg
import httpx
import pytest
from customers_api.app import create_app
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import ServeSettings
from customers_api.tables import SCHEMA
from legacy_events import CLUSTER, Attempt, records
from tokens_for import SECRET_KEY, bearer
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import PostgresSettings

ABSENT = UUID(int=404)


@pytest.fixture
async def viktor(consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID) -> int:
    from datetime import UTC, date, datetime

    event = Attempt(running).read(
        7,
        "79025163111",
        firstname="Виктор",
        email="ving@mail.ru",
        birthday=date(1980, 12, 21),
        gender="M",
        city_id=0,
        last_auth_at=datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC),
    )
    await consumers.apply_legacy(records([event]), CLUSTER, {})
    return await pool.fetchval("SELECT id FROM customers")  # type: ignore[no-any-return]


async def test_the_list_shows_the_phone_as_an_object(
    client: httpx.AsyncClient, pool: asyncpg.Pool, viktor: int
) -> None:
    answer = await client.get("/rest/v1/customers/")

    phone = {"id": await pool.fetchval("SELECT id FROM phones"), "code": "7", "number": "9025163111"}
    viktors = {"firstname": "Виктор", "lastname": None, "email": "ving@mail.ru", "birthday": "1980-12-21"}
    assert answer.json() == {"items": [{"id": viktor, "phone": phone, **viktors}], "count": 1}


async def test_one_customer_has_the_phone_as_digits(client: httpx.AsyncClient, viktor: int) -> None:
    answer = await client.get(f"/rest/v1/customers/{viktor}")

    assert answer.json() == {
        "id": viktor,
        "phone": "79025163111",
        "firstname": "Виктор",
        "lastname": None,
        "email": "ving@mail.ru",
        "birthday": "1980-12-21",
        "gender": "M",
        "city_id": 0,
        "last_auth_at": "2023-12-21T04:20:37.024Z",
    }


async def test_a_deleted_customer_is_not_shown(client: httpx.AsyncClient, pool: asyncpg.Pool, viktor: int) -> None:
    await pool.execute("UPDATE customers SET deleted_at = now()")

    one, page = await client.get(f"/rest/v1/customers/{viktor}/"), await client.get("/rest/v1/customers/")

    assert (one.status_code, page.json()) == (404, {"items": [], "count": 0})


async def test_pages_are_in_the_order_of_ids(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO customers (version) SELECT 1 FROM generate_series(1, 120)")

    first, rest = await client.get("/rest/v1/customers/"), await client.get("/rest/v1/customers/?limit=1000&offset=50")

    ids = [item["id"] for item in (*first.json()["items"], *rest.json()["items"])]
    assert (len(first.json()["items"]), len(ids), ids, rest.json()["count"]) == (50, 120, sorted(ids), 120)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/rest/v1/customers/999999/", 404, "customer_not_found"),
        ("/rest/v1/customers/nobody/", 422, "invalid_request"),
        ("/rest/v1/customers/?limit=0", 422, "invalid_request"),
        ("/rest/v1/customers/?limit=1001", 422, "invalid_request"),
        ("/rest/v1/customers/?offset=-1", 422, "invalid_request"),
        (f"/rest/v1/customers/?offset={2**63}", 422, "invalid_request"),
        (f"/rest/v1/imports/{ABSENT}/", 404, "import_not_found"),
        (f"/rest/v1/imports/{ABSENT}/rejections/", 404, "import_not_found"),
        ("/rest/v1/nothing/", 404, "not_found"),
    ],
)
async def test_every_error_is_a_problem(client: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await client.get(path)

    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert len(problem["trace_id"]) == 32


async def test_another_method_is_a_problem_too(client: httpx.AsyncClient) -> None:
    answer = await client.put("/rest/v1/customers/")

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_the_import_is_started_once_and_joined_after(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    first = await client.get("/grpc/v1/service/import_customers/")
    second = await client.get("/grpc/v1/service/import_customers")

    assert (first.status_code, first.headers["cache-control"], first.json()["success"]) == (202, "no-store", True)
    assert first.json()["data"] == second.json()["data"]
    job = (await client.get(first.json()["data"]["url"])).json()
    assert (job["status"], job["read"], job["percent"], job["error"]) == ("requested", 0, None, None)


async def test_an_import_is_a_job(client: httpx.AsyncClient) -> None:
    started = await client.post("/rest/v1/imports/")

    job = (await client.get(started.headers["location"])).json()
    assert started.status_code == 202
    assert job == started.json()
    assert (await client.get("/rest/v1/imports/")).json() == {"items": [job], "count": 1}


async def test_rejections_are_those_of_the_winning_attempts(
    client: httpx.AsyncClient, consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    lost, won = Attempt(running), Attempt(running)
    await consumers.apply_legacy(records([lost.rejected(4), won.rejected(4, "too_short")]), CLUSTER, {})
    await pool.execute("UPDATE import_chunks SET status = 'published', attempt = $1", won.id)

    answer = await client.get(f"/rest/v1/imports/{running}/rejections/")

    rejection = {"legacy_id": 4, "kind": "row", "field": "phone", "reason": "too_short"}
    nobody = {"customer_id": None, "other_customer_id": None, "other_legacy_id": None}
    assert answer.json() == {"items": [{**rejection, **nobody}], "count": 1}


async def test_without_the_database_it_is_unavailable(settings: PostgresSettings) -> None:
    away = ServeSettings(**{**settings.model_dump(), "postgres_port": 1, "secret_key": SECRET_KEY})
    async with pools.create_pool(away, SCHEMA, 1) as pool:
        app = create_app(away, pool, Health())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer()) as client:
            answer = await client.get("/rest/v1/customers/")

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
