"""An import of kind `compare` lists what a full import would do and writes nothing else; kinds wait for each other."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from customers_api.customers import writes as customer_writes
from customers_api.imports import old_details, reread_customers, writes
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.gone_rows import Deletions
from customers_api.imports.sweeper import Sweeper
from legacy_events import READ_AT, Attempt, end_import, start_import
from table_imports import ALL, BOUNDS, TableImports, phone
from vapteke_shared.process.health import Health

IMPORTS = "/rest/v1/imports/"
WRITTEN = ("phones", "firstnames", "customers", "legacy_customers", "outbox")
APPLY = Deletions("apply", limit=100)


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> TableImports:
    """The first import has found all rows."""
    imports = TableImports(pool, consumers)
    assert (await imports.run(ALL))["status"] == "completed"
    return imports


async def contents(pool: asyncpg.Pool) -> list[Any]:
    """A digest of the versions of all rows: any write changes it. The outbox's states of imports do not count."""
    return [
        await pool.fetchval(
            f"SELECT md5(coalesce(string_agg(concat(ctid, xmin), ',' ORDER BY ctid), '')) FROM {table}"
            + (" WHERE topic = 'vapteke.customers.v1'" if table == "outbox" else "")
        )
        for table in WRITTEN
    ]


async def differences(pool: asyncpg.Pool, job: asyncpg.Record) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT legacy_id, difference, fields FROM import_differences WHERE import_id = $1 ORDER BY 1, 2", job["id"]
    )
    return [tuple(row) for row in rows]


async def test_it_lists_what_a_full_import_then_does_and_writes_nothing(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, await pool.fetchval(_CUSTOMER, 60))
    table = {"rows": [*range(4, 106)], "bounds": (50, 105), "rejected": [10], "changed": [20, 21]}
    before = await contents(pool)

    compared = await imports.run(**table, kind="compare", deletions=APPLY)

    assert await contents(pool) == before
    assert await differences(pool, compared) == [
        *((row, "gone", []) for row in (1, 2, 3)),
        (10, "would_reject", []),
        *((row, "would_update", ["lastname"]) for row in (20, 21)),
        (60, "would_skip", []),
        *((row, "would_create", []) for row in range(101, 106)),
    ]
    full = await imports.run(**table)
    classes = ("read", "created", "updated", "unchanged", "skipped", "rejected")
    assert [compared[name] for name in classes] == [full[name] for name in classes]
    assert [full[name] for name in classes] == [102, 5, 2, 93, 1, 1]
    assert (compared["gone"], full["gone"]) == (0, 3)


async def test_equal_tables_have_no_differences(pool: asyncpg.Pool, imports: TableImports) -> None:
    job = await imports.run(ALL, kind="compare")

    assert (job["status"], job["unchanged"], await differences(pool, job)) == ("completed", 100, [])


async def test_what_the_attempt_that_won_has_read_is_listed_whatever_another_attempt_has_read(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    running = await start_import(pool, BOUNDS, kind="compare")
    number = await pool.fetchval("SELECT number FROM import_chunks WHERE import_id = $1 AND chunk = 0", running)
    later = Attempt(running, number=number, read_at=READ_AT + timedelta(seconds=1))
    await imports.apply(later.read(7, phone(7), lastname="Другая"))
    await imports.read(running, ALL, changed=[7])

    job = await imports.end(running)

    assert (7, "would_update") in [
        (row["legacy_id"], row["difference"])
        for row in await pool.fetch(
            "SELECT d.* FROM import_differences d JOIN import_chunks c USING (import_id, chunk, attempt)"
            " WHERE import_id = $1",
            job["id"],
        )
    ]


async def test_a_row_that_another_import_has_read_later_is_no_difference(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    comparison = await start_import(pool, BOUNDS, kind="compare")
    await imports.read(comparison, ALL, changed=[1, 2])
    await imports.read(await imports.start_rows(1), ALL, changed=[1])

    job = await imports.end(comparison)

    assert (job["status"], job["updated"]) == ("completed", 2)
    assert await differences(pool, job) == [(2, "would_update", ["lastname"])]


async def test_a_row_that_has_returned_counts_as_in_a_full_import(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(ALL[10:], APPLY)
    before = await contents(pool)

    compared = await imports.run(ALL, kind="compare", changed=[1])

    assert await contents(pool) == before
    assert (compared["updated"], compared["unchanged"], compared["skipped"]) == (1, 99, 0)
    assert await differences(pool, compared) == [(1, "would_update", ["lastname"])]


async def test_phones_without_their_owner_and_orphans_are_listed(pool: asyncpg.Pool, imports: TableImports) -> None:
    await pool.execute(
        "UPDATE customers SET phone_id = NULL, phone_from = NULL WHERE id = ($1)", await _customer(pool, 5)
    )
    six, seven = await _customer(pool, 6), await _customer(pool, 7)
    await pool.execute("UPDATE legacy_customers SET phone_id = NULL WHERE legacy_id = 6")
    await pool.execute("UPDATE legacy_customers SET customer_id = 10^9::bigint WHERE legacy_id = 8")
    await pool.execute("UPDATE legacy_customers SET phone_id = 10^9::bigint WHERE legacy_id = 9")
    async with pool.acquire() as connection:
        await customer_writes.change_phone(connection, seven, "79990001122")

    job = await imports.run([row for row in ALL if row not in (8, 9)], kind="compare", bounds=(7, 100))

    rows = await pool.fetch(
        "SELECT legacy_id, customer_id, difference FROM import_differences WHERE import_id = $1"
        " AND difference IN ('phone_owner', 'orphan') ORDER BY difference, legacy_id, customer_id",
        job["id"],
    )
    assert [tuple(row) for row in rows] == [
        (8, 10**9, "orphan"),
        (9, await _customer(pool, 9), "orphan"),
        (5, await _customer(pool, 5), "phone_owner"),
        (9, await _customer(pool, 9), "phone_owner"),
        *((None, each, "phone_owner") for each in sorted([six, await _holder(pool, 8), await _holder(pool, 9)])),
    ]


_CUSTOMER = "SELECT customer_id FROM legacy_customers WHERE legacy_id = $1"


async def _customer(pool: asyncpg.Pool, legacy_id: int) -> int:
    customer_id: int = await pool.fetchval(_CUSTOMER, legacy_id)
    return customer_id


async def _holder(pool: asyncpg.Pool, legacy_id: int) -> int:
    holder: int = await pool.fetchval(
        "SELECT c.id FROM customers c JOIN phones p ON p.id = c.phone_id WHERE p.digits = $1", phone(legacy_id)
    )
    return holder


async def test_the_list_is_shown_without_attempts_that_have_not_won(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    job = await imports.run(ALL, kind="compare", changed=[1, 2])
    await pool.execute(
        "INSERT INTO import_differences (import_id, chunk, attempt, legacy_id, difference)"
        " VALUES ($1, 0, gen_random_uuid(), 3, 'would_update')",
        job["id"],
    )

    page = (await client.get(f"{IMPORTS}{job['id']}/differences/", params={"difference": "would_update"})).json()
    one = (await client.get(f"{IMPORTS}{job['id']}/differences/", params={"legacy_id": 2})).json()

    assert page["count"] == 2
    assert page["items"][0] == {
        "legacy_id": 1,
        "customer_id": await _customer(pool, 1),
        "difference": "would_update",
        "fields": ["lastname"],
    }
    assert [each["legacy_id"] for each in one["items"]] == [2]
    assert (await client.get(f"{IMPORTS}0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11/differences/")).status_code == 404


async def test_a_comparison_makes_nobody_reread_the_customers(pool: asyncpg.Pool, imports: TableImports) -> None:
    async with pool.acquire() as connection:
        while await reread_customers.rewrite_next(connection):
            pass
        await imports.run(ALL, kind="compare")

        assert not await reread_customers.rewrite_next(connection)


async def test_only_the_latest_comparisons_keep_their_differences(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(ALL, kind="compare", changed=[1])
    latest = await imports.run(ALL, kind="compare", changed=[2])

    async with pool.acquire() as connection:
        await old_details.delete(connection, 1)

    assert await pool.fetch("SELECT import_id, legacy_id FROM import_differences") == [(latest["id"], 2)]


async def test_a_comparison_does_not_count_as_the_last_completed_import(
    client: httpx.AsyncClient, imports: TableImports
) -> None:
    before = (await client.get(f"{IMPORTS}schedule/")).json()

    await imports.run(ALL, kind="compare")

    assert before["last_completed_at"] is not None
    assert (await client.get(f"{IMPORTS}schedule/")).json() == before


async def test_another_kind_waits_until_the_unfinished_import_has_ended(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    full = (await client.post(IMPORTS)).json()
    compare = (await client.post(IMPORTS, json={"kind": "compare"})).json()
    again = (await client.post(IMPORTS, json={"kind": "compare"})).json()
    joined = (await client.get("/grpc/v1/service/import_customers/")).json()["data"]

    assert (compare["status"], compare["waiting_for"]) == (
        "requested",
        "another import: this one starts when it has ended",
    )
    assert (again["id"], joined["import_id"]) == (compare["id"], full["id"])
    assert (await client.get(IMPORTS, params={"status": "requested"})).json()["count"] == 2
    await end_import(pool)
    late = (await client.get("/grpc/v1/service/import_customers/")).json()["data"]
    async with pool.acquire() as connection:
        await Sweeper(pool, Health(), 900).sweep(connection)

    assert await pool.fetch("SELECT kind, status FROM imports WHERE finished_at IS NULL ORDER BY 1") == [
        ("compare", "requested"),
        ("full", "waiting"),
    ]
    assert late["import_id"] != full["id"]
    tasks = await pool.fetch("SELECT key FROM outbox WHERE topic = 'vapteke.import.tasks.v1' ORDER BY id")
    assert [task["key"] for task in tasks] == [full["id"], compare["id"]]


async def test_an_import_that_waits_can_be_cancelled(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    await client.post(IMPORTS)
    compare = (await client.post(IMPORTS, json={"kind": "compare"})).json()

    cancelled = (await client.post(f"{IMPORTS}{compare['id']}/cancel/")).json()

    assert (cancelled["status"], cancelled["finished_at"] is not None) == ("cancelled", True)
    async with pool.acquire() as connection:
        assert await writes.start_waiting(connection, 10_000) is None
