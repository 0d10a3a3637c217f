"""Rows that return to vAptekeSync after they were gone, while the API and the sweeper write the same customers."""

import asyncio
from collections.abc import Awaitable
from datetime import date

import asyncpg
import httpx
import pytest
from customers_api.customers import writes as customer_writes
from customers_api.imports import gone_rows
from customers_api.imports.consumers import ImportConsumers
from gone_marks import APPLY, customer_of, deleted, marks, without
from legacy_events import Attempt, end_import, start_import
from outbox_events import events_in_outbox
from table_imports import ALL, BOUNDS, TableImports, phone

CUSTOMERS = "/rest/v1/customers/"


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> TableImports:
    """The first import has found all rows."""
    imports = TableImports(pool, consumers)
    await imports.run(ALL)
    return imports


async def test_a_customer_whom_the_previous_release_restored_is_active_for_all(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(without(7, 8), APPLY)
    await pool.execute("UPDATE customers SET deleted_at = NULL, version = version + 1 WHERE deleted_by = 'import'")
    seven, eight = [await customer_of(pool, row) for row in (7, 8)]

    answer = await client.delete(f"{CUSTOMERS}{seven}/")
    await imports.run(ALL, APPLY)

    assert (answer.status_code, await deleted(pool), await marks(pool)) == (200, [7], {})
    assert await pool.fetchval("SELECT version FROM customers WHERE id = $1", eight) == 3  # nobody restored it again


async def test_a_phone_from_the_api_comes_back_if_it_is_free(pool: asyncpg.Pool, imports: TableImports) -> None:
    seven, eight = [await customer_of(pool, row) for row in (7, 8)]
    async with pool.acquire() as connection:
        await customer_writes.change_phone(connection, seven, phone(1007))
        await customer_writes.change_phone(connection, eight, phone(1008))
    await imports.run(without(7, 8), APPLY)
    async with pool.acquire() as connection:
        await customer_writes.create(connection, phone(1008), {})

    await imports.run(ALL, APPLY)

    held = await pool.fetch(
        "SELECT p.digits, c.phone_from FROM customers c JOIN phones p ON p.id = c.phone_id"
        " WHERE c.id = ANY($1) ORDER BY c.id",
        [seven, eight],
    )
    assert [tuple(row) for row in held] == [(phone(1007), "api"), (phone(8), "import")]


async def test_a_row_returns_also_in_an_import_that_does_not_complete(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(without(7), APPLY)
    running = await start_import(pool, BOUNDS)
    await imports.read(running, ALL)

    await end_import(pool, "failed")

    assert (await deleted(pool), await marks(pool)) == ([], {})


async def test_a_row_returns_though_the_batch_is_divided_at_bad_data(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(without(7), APPLY)
    running = await start_import(pool, (100,))
    attempt = Attempt(running)
    rows = [attempt.read(row, phone(row), lastname="Первая") for row in (6, 7)]

    await imports.apply(*rows, attempt.read(8, phone(8), birthday=date.max))

    assert (await deleted(pool), await marks(pool)) == ([], {})
    assert await pool.fetchval("SELECT sum(unchanged)::int FROM import_counts WHERE import_id = $1", running) == 2


async def test_a_customer_with_an_infinite_date_of_an_earlier_release_is_deleted_and_returns(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    for table in ("customers", "legacy_customers"):
        await pool.execute(f"UPDATE {table} SET last_auth_at = 'infinity'")

    await imports.run(without(7), APPLY)
    assert await deleted(pool) == [7]
    await imports.run(ALL, APPLY)

    assert (await deleted(pool), await marks(pool)) == ([], {})


async def test_a_row_that_returns_while_its_customer_is_being_deleted_keeps_it(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    job = await imports.run(without(*range(1, 31)))
    running = await start_import(pool, BOUNDS)
    async with pool.acquire() as connection, pool.acquire() as other:
        await gone_rows.approve(connection, job["id"], 30)

        await asyncio.gather(imports.read(running, ALL), _all(connection), _all(other))

    assert (await deleted(pool), await marks(pool)) == ([], {})
    versions: dict[int, list[int]] = {}
    for event in await events_in_outbox(pool):
        versions.setdefault(event.id, []).append(event.version)
    assert all(each == [*range(1, len(each) + 1)] for each in versions.values())


async def test_api_calls_win_over_a_deletion_and_a_return_at_the_same_time(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    job = await imports.run(without(*range(1, 31)))
    paths = [f"{CUSTOMERS}{await customer_of(pool, row)}/" for row in range(1, 31)]
    running = await start_import(pool, BOUNDS)
    async with pool.acquire() as connection:
        await gone_rows.approve(connection, job["id"], 30)
        calls: list[Awaitable[httpx.Response]] = [client.delete(path) for path in paths[:15]]
        calls += [client.patch(path, json={"lastname": "Я"}) for path in paths[15:]]

        answers = await asyncio.gather(*calls, _all(connection), imports.read(running, ALL))
    await imports.end(running)

    assert {answer.status_code for answer in answers[:15]} <= {200, 404}
    assert await deleted(pool) == [*range(1, 16)]  # 404: the deletion by the import has become one by the API
    assert await marks(pool) == {}


async def _all(connection: asyncpg.Connection) -> None:
    while await gone_rows.delete_next(connection):
        pass
