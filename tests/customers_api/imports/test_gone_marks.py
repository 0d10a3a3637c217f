"""Which rows an import marks as gone in unusual histories, and what counts towards the limit of deletions."""

import asyncpg
import httpx
import pytest
from customers_api.imports import gone_rows
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.gone_rows import Deletions
from gone_marks import APPLY, customer_of, deleted, marks, withheld, without
from legacy_events import Attempt, start_import
from table_imports import ALL, BOUNDS, TableImports, phone
from vapteke_shared.contract import limits


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> TableImports:
    """The first import has found all rows."""
    imports = TableImports(pool, consumers)
    await imports.run(ALL)
    return imports


async def test_a_row_that_a_lost_attempt_has_read_is_left_to_the_next_import(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    running = await start_import(pool, BOUNDS)
    number = await pool.fetchval("SELECT number FROM import_chunks WHERE import_id = $1 AND chunk = 0", running)
    await imports.apply(Attempt(running, number=number).read(7, phone(7), lastname="Первая"))  # it was added again
    await imports.read(running, without(7))

    job = await imports.end(running)
    following = await imports.run(without(7))

    assert (job["status"], job["gone"], following["gone"]) == ("completed", 0, 1)


async def test_a_row_that_was_written_after_its_range_was_requested_is_not_gone(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    running = await start_import(pool, (50, 99))
    await imports.read(running, without(7, 100))
    await pool.execute("UPDATE legacy_customers SET number = nextval('hand_out_numbers') WHERE legacy_id IN (7, 100)")

    job = await imports.end(running)

    assert (job["status"], job["gone"]) == ("completed", 0)


async def test_rows_without_a_dispatch_number_are_found(pool: asyncpg.Pool, imports: TableImports) -> None:
    await pool.execute("UPDATE legacy_customers SET number = NULL")

    await imports.run(without(7, 100), bounds=(50, 99))

    assert await marks(pool) == {7: "reported", 100: "reported"}


async def test_a_row_above_the_last_bound_is_found_once(pool: asyncpg.Pool, imports: TableImports) -> None:
    first = await imports.run(without(100), bounds=(50, 99))
    second = await imports.run(without(100), bounds=(50, 99))

    assert (first["gone"], second["gone"]) == (1, 0)


async def test_the_first_range_reaches_down_to_the_least_key(pool: asyncpg.Pool, consumers: ImportConsumers) -> None:
    imports, lowest = TableImports(pool, consumers), [limits.INT64_MIN, -5, 0]
    await imports.run([*lowest, *ALL])

    await imports.run(ALL)

    assert list(await marks(pool)) == lowest


async def test_a_row_whose_customer_does_not_exist_is_left(pool: asyncpg.Pool, imports: TableImports) -> None:
    await pool.execute("DELETE FROM customers WHERE id = $1", await customer_of(pool, 7))
    job = await imports.run(without(7, 8))
    async with pool.acquire() as connection:
        await gone_rows.approve(connection, job["id"], 1)
        await connection.execute("DELETE FROM customers WHERE id = $1", await customer_of(pool, 8))
        while await gone_rows.delete_next(connection):
            pass

    assert await marks(pool) == {7: "left", 8: "left"}


async def test_a_customer_who_was_created_between_two_imports_is_of_the_api(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(ALL)
    await pool.execute("UPDATE legacy_customers SET joined = NULL")
    await pool.execute(
        "UPDATE customers SET created_at = (SELECT min(finished_at) + interval '1 microsecond' FROM imports)"
        " WHERE id = $1",
        await customer_of(pool, 7),
    )
    await pool.execute(
        "UPDATE customers SET created_at = (SELECT max(finished_at) FROM imports) WHERE id = $1",
        await customer_of(pool, 8),
    )

    await imports.run(without(7, 8))

    assert await marks(pool) == {7: "left", 8: "reported"}


async def test_a_customer_who_was_deleted_after_the_approval_is_left(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    job, customer_id = await imports.run(without(7)), await customer_of(pool, 7)
    async with pool.acquire() as connection:
        await gone_rows.approve(connection, job["id"], 1)
        await client.delete(f"/rest/v1/customers/{customer_id}/")
        await gone_rows.delete_next(connection)

    assert await marks(pool) == {7: "left"}
    assert await pool.fetchval("SELECT version FROM customers WHERE id = $1", customer_id) == 2


async def test_deletions_that_are_approved_later_count_on_the_day_they_are_made(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    job = await imports.run(without(*range(1, 11)))
    await pool.execute("UPDATE legacy_customers SET gone_at = gone_at - interval '25 hours'")
    async with pool.acquire() as connection:
        await gone_rows.approve(connection, job["id"], 10)
    running = await start_import(pool, BOUNDS)
    await imports.read(running, without(*range(1, 12)))
    waiting = await imports.end(running, APPLY)  # those ten are approved, and not yet deleted
    made = await imports.run(without(*range(1, 13)), APPLY)  # now they are deleted

    assert len(withheld(waiting)) == len(withheld(made)) == 1
    assert await deleted(pool) == [*range(1, 11)]


@pytest.mark.parametrize(
    ("limits_set", "expected"),
    [(Deletions("apply", 0, 0), []), (Deletions("apply", 0, 2), [7, 8]), (Deletions("apply", 0, 100), [7, 8])],
)
async def test_the_limit_may_be_nothing_or_everything(
    pool: asyncpg.Pool, imports: TableImports, limits_set: Deletions, expected: list[int]
) -> None:
    job = await imports.run(without(7, 8), limits_set)

    assert (await deleted(pool), len(withheld(job))) == (expected, 0 if expected else 1)


async def test_customers_who_are_deleted_do_not_raise_the_limit(pool: asyncpg.Pool, imports: TableImports) -> None:
    await pool.execute("UPDATE customers SET deleted_at = now() WHERE id <> ALL($1)", [await customer_of(pool, 7)])

    job = await imports.run(without(7), Deletions("apply", 0, 50))

    assert withheld(job)
    assert await deleted(pool) == without(7)


async def test_a_warning_of_the_plan_stays_beside_that_of_the_limit(pool: asyncpg.Pool, imports: TableImports) -> None:
    running = await start_import(pool, BOUNDS)
    await imports.read(running, without(7))
    await pool.execute("UPDATE imports SET warnings = '{of the plan}' WHERE id = $1", running)

    job = await imports.end(running, Deletions("apply", 0, 0))

    assert job["warnings"][0] == "of the plan"
    assert len(job["warnings"]) == 2


async def test_an_approval_is_of_one_import(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(without(7))
    second = await imports.run(without(7, 8))
    deletions = f"/rest/v1/imports/{second['id']}/deletions/"

    listed = (await client.get(deletions)).json()
    await client.post(f"{deletions}approve/", json={"count": 1})

    assert [item["legacy_id"] for item in listed["items"]] == [8]
    assert await marks(pool) == {7: "reported", 8: "approved"}
