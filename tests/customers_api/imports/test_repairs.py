"""A comparison is repaired: its rows are read again, and its phones go to their owners."""

from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from customers_api.imports.consumers import ImportConsumers
from gone_marks import customer_of
from legacy_events import people_of
from outbox_events import events_in_outbox
from table_imports import ALL, TableImports, phone
from vapteke_shared.contract.events.customers import CustomerPhoneChanged

IMPORTS = "/rest/v1/imports/"


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> TableImports:
    """The first import has found all rows."""
    imports = TableImports(pool, consumers)
    assert (await imports.run(ALL))["status"] == "completed"
    return imports


async def test_what_a_comparison_has_found_is_repaired_and_the_next_one_finds_nothing(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    lost, kept = await customer_of(pool, 5), await customer_of(pool, 6)
    await pool.execute("UPDATE customers SET phone_id = NULL, phone_from = NULL WHERE id = $1", lost)
    await pool.execute("UPDATE legacy_customers SET phone_id = NULL WHERE legacy_id = 6")
    await pool.execute("UPDATE legacy_customers SET phone_id = 10^9::bigint WHERE legacy_id = 7")
    await pool.execute("DELETE FROM outbox")
    table = {"rows": [*ALL, 101], "bounds": (101,), "changed": [20]}
    compare = await imports.run(**table, kind="compare")

    answer = await client.post(f"{IMPORTS}{compare['id']}/repair/")

    job = answer.json()
    assert (answer.status_code, job["kind"], job["requested_by"]) == (202, "rows", "tester")
    assert answer.headers["location"] == f"{IMPORTS}{job['id']}/"
    people = await people_of(pool)
    assert [people[row][0] for row in (5, 6)] == [phone(5), None]
    sent = [event for event in await events_in_outbox(pool) if isinstance(event, CustomerPhoneChanged)]
    assert {event.id: event.phone for event in sent}.items() >= {lost: phone(5), kept: None}.items()

    await imports.read(UUID(job["id"]), [*ALL, 101], changed=[20])
    ended = await imports.end(UUID(job["id"]))
    listed = (await client.get(f"{IMPORTS}{job['id']}/rows/")).json()["items"]
    assert (ended["status"], ended["created"], ended["unchanged"]) == ("completed", 1, 1)
    assert [row["legacy_id"] for row in listed] == [5, 6, 7, 20, 101]
    assert [await people_of(pool)][0][6][0] == phone(6)
    again = await imports.run(**table, kind="compare")
    assert (await client.get(f"{IMPORTS}{again['id']}/differences/")).json() == {"items": [], "count": 0}
    empty = await client.post(f"{IMPORTS}{again['id']}/repair/")
    assert (empty.status_code, empty.json()["code"]) == (409, "no_rows")


async def test_more_differences_than_one_import_can_read_change_nothing(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    await pool.execute(
        "UPDATE customers SET phone_id = NULL, phone_from = NULL WHERE id = $1", await customer_of(pool, 5)
    )
    compare = await imports.run(ALL, kind="compare")
    await pool.execute(
        "INSERT INTO import_differences (import_id, legacy_id, difference)"
        " SELECT $1, n, 'would_create' FROM generate_series(1001, 11000) AS n",
        compare["id"],
    )

    answer = await client.post(f"{IMPORTS}{compare['id']}/repair/")

    assert (answer.status_code, answer.json()["code"], answer.json()["count"]) == (409, "too_many_rows", 10_001)
    assert (await people_of(pool))[5][0] is None
    assert await pool.fetchval("SELECT count(*) FROM imports WHERE kind = 'rows'") == 0


async def test_only_a_completed_comparison_is_repaired(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    full = await pool.fetchval("SELECT id FROM imports")
    compare = (await client.post(IMPORTS, json={"kind": "compare"})).json()["id"]

    answers = [await client.post(f"{IMPORTS}{each}/repair/") for each in (full, compare, uuid4())]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (409, "not_a_comparison"),
        (409, "not_a_comparison"),
        (404, "import_not_found"),
    ]
