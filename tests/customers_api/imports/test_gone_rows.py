"""Rows that are gone from vAptekeSync: which are marked, whose customers are deleted, and what returns."""

import asyncpg
import httpx
import pytest
from customers_api.customers import writes as customer_writes
from customers_api.imports import gone_rows
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from customers_api.imports.waiting_deletions import WaitingCount
from gone_marks import APPLY, customer_of, deleted, marks, withheld, without
from legacy_events import cancel, end_import, start_import
from outbox_events import events_in_outbox
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from table_imports import ALL, BOUNDS, TableImports, phone
from vapteke_shared.contract.events.customers import CustomerDeleted, CustomerRestored
from vapteke_shared.process.health import Health

IMPORTS, CUSTOMERS = "/rest/v1/imports/", "/rest/v1/customers/"


@pytest.fixture
async def imports(pool: asyncpg.Pool, consumers: ImportConsumers) -> TableImports:
    """The first import has found all rows."""
    imports = TableImports(pool, consumers)
    assert (await imports.run(ALL))["status"] == "completed"
    return imports


async def test_exactly_the_rows_that_are_gone_are_marked(pool: asyncpg.Pool, imports: TableImports) -> None:
    job = await imports.run(without(1, 20, 50, 51, 100), bounds=(50, 99))  # the new plan ends below the gone last key

    assert (job["status"], job["gone"], job["warnings"]) == ("completed", 5, [])
    assert await marks(pool) == dict.fromkeys([1, 20, 50, 51, 100], "reported")
    assert await deleted(pool) == []


async def test_a_row_that_stays_gone_is_found_once(pool: asyncpg.Pool, imports: TableImports) -> None:
    first = await imports.run(without(7))
    second = await imports.run(without(7, 8))

    assert (first["gone"], second["gone"]) == (1, 1)
    assert await pool.fetchval("SELECT gone_in FROM legacy_customers WHERE legacy_id = 7") == first["id"]


async def test_a_rejected_row_is_not_gone(pool: asyncpg.Pool, imports: TableImports) -> None:
    job = await imports.run(ALL, rejected=[7])

    assert (job["rejected"], job["gone"]) == (1, 0)


async def test_a_reading_clears_the_mark_also_of_a_rejected_row(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(without(7, 8))

    await imports.run(ALL, rejected=[8])

    assert await marks(pool) == {}


async def test_an_import_without_rows_or_without_an_end_marks_nothing(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    empty = await imports.run([], bounds=())
    cancelled = await start_import(pool, BOUNDS, in_flight=1)
    await cancel(pool, cancelled)
    async with pool.acquire() as connection:
        await pool.execute("UPDATE import_chunks SET status = 'planned' WHERE import_id = $1", cancelled)
        await Sweeper(pool, Health(), 900).sweep(connection)
    await start_import(pool, BOUNDS)
    await end_import(pool, "failed")

    assert (empty["status"], empty["gone"]) == ("completed", 0)
    assert await pool.fetchval("SELECT status FROM imports WHERE id = $1", cancelled) == "cancelled"
    assert await marks(pool) == {}


async def test_a_customer_is_deleted_and_comes_back_with_the_row(pool: asyncpg.Pool, imports: TableImports) -> None:
    customer_id = await customer_of(pool, 7)

    await imports.run(without(7, 8), APPLY)
    assert (await marks(pool), await deleted(pool)) == ({7: "applied", 8: "applied"}, [7, 8])
    again = await imports.run(without(7, 8), APPLY)
    returned = await imports.run(ALL, APPLY)

    assert (again["gone"], returned["gone"], returned["unchanged"]) == (0, 0, 100)
    assert (await marks(pool), await deleted(pool)) == ({}, [])
    assert await customer_of(pool, 7) == customer_id
    events = [event for event in await events_in_outbox(pool) if event.id == customer_id]
    assert [type(event) for event in events[1:]] == [CustomerDeleted, CustomerRestored]
    assert [event.origin for event in events] == ["import"] * 3
    assert (events[-1].version, events[-1].phone) == (3, phone(7))


async def test_a_row_that_returns_with_changes_is_applied(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(without(7), APPLY)
    await pool.execute("UPDATE legacy_customers SET lastname = 'Прежняя' WHERE legacy_id = 7")

    job = await imports.run(ALL, APPLY)

    assert (job["updated"], job["skipped"], await deleted(pool)) == (1, 0, [])


async def test_the_phone_of_a_deleted_customer_goes_on(pool: asyncpg.Pool, imports: TableImports) -> None:
    await imports.run(without(7), APPLY)
    async with pool.acquire() as connection:
        other = (await customer_writes.create(connection, phone(7), {}))["id"]

    await imports.run(ALL, APPLY)

    holder = await pool.fetchval(
        "SELECT c.id FROM customers c JOIN phones p ON p.id = c.phone_id WHERE p.digits = $1 AND c.deleted_at IS NULL",
        phone(7),
    )
    assert (holder, await deleted(pool)) == (other, [])


async def test_customers_of_the_api_and_deleted_ones_are_left_alone(
    pool: asyncpg.Pool, consumers: ImportConsumers
) -> None:
    imports = TableImports(pool, consumers)
    async with pool.acquire() as connection:
        await customer_writes.create(connection, phone(7), {})
    await imports.run(ALL)
    async with pool.acquire() as connection:
        await customer_writes.delete(connection, await customer_of(pool, 8))

    job = await imports.run(without(7, 8, 9), APPLY)
    assert (job["gone"], await marks(pool)) == (3, {7: "left", 8: "left", 9: "applied"})
    await imports.run(ALL, APPLY)

    assert await deleted(pool) == [8]


async def test_who_created_the_customer_of_an_old_row_is_seen_from_the_times_of_imports(
    pool: asyncpg.Pool, imports: TableImports
) -> None:
    await pool.execute("UPDATE legacy_customers SET joined = NULL")
    await pool.execute(
        "UPDATE customers SET created_at = created_at - interval '1 day' WHERE id = $1", await customer_of(pool, 7)
    )

    await imports.run(without(7, 8), APPLY)

    assert await marks(pool) == {7: "left", 8: "applied"}


async def test_an_api_delete_in_between_is_final(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(without(7, 8), APPLY)

    answer = await client.delete(f"{CUSTOMERS}{await customer_of(pool, 7)}/")
    await imports.run(ALL, APPLY)

    assert (answer.status_code, await deleted(pool)) == (404, [7])


async def test_a_customer_who_was_restored_through_the_api_is_not_deleted_again(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    await imports.run(without(7), APPLY)
    await client.post(f"{CUSTOMERS}{await customer_of(pool, 7)}/restore/")

    await imports.run(without(7), APPLY)
    await imports.run(ALL, APPLY)

    assert (await deleted(pool), await marks(pool)) == ([], {})


async def test_more_than_the_limit_of_a_day_is_withheld(pool: asyncpg.Pool, imports: TableImports) -> None:
    first = await imports.run(without(*range(1, 7)), APPLY)
    second = await imports.run(without(*range(1, 13)), APPLY)

    assert (first["gone"], withheld(first), second["gone"]) == (6, [], 6)
    [warning] = withheld(second)
    assert warning.startswith("6 rows are gone from vAptekeSync; their customers were not deleted, because only 4 more")
    assert await deleted(pool) == [1, 2, 3, 4, 5, 6]
    assert set((await marks(pool)).values()) == {"applied", "withheld"}

    await pool.execute("UPDATE customers SET deleted_at = deleted_at - interval '25 hours'")
    third = await imports.run(without(*range(1, 16)), APPLY)

    assert (third["gone"], withheld(third)) == (3, [])
    assert await deleted(pool) == [1, 2, 3, 4, 5, 6, 13, 14, 15]


async def test_each_later_import_warns_and_logs_that_rows_are_withheld_until_they_are_approved(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    rest = without(*range(1, 21))
    job = await imports.run(rest, APPLY)
    with capture_logs() as logged:
        later = [await imports.run(rest, deletions) for deletions in (APPLY, gone_rows.REPORT)]
    await client.post(f"{IMPORTS}{job['id']}/deletions/approve/", json={"count": 20})
    approved = await imports.run(rest, APPLY)

    warnings = [warning for each in later for warning in each["warnings"]]
    assert [text.split(" are still gone")[0] for text in warnings] == ["20 rows that earlier imports have missed"] * 2
    lines = [(line["event"], line["log_level"], line["warnings"]) for line in logged]
    assert lines == [("import completed", "warning", [warning]) for warning in warnings]
    assert (approved["warnings"], len(await deleted(pool))) == ([], 20)


async def test_imports_can_be_filtered_by_what_became_of_their_gone_rows(
    client: httpx.AsyncClient, imports: TableImports
) -> None:
    reported = await imports.run(without(1))
    withheld_in = await imports.run(without(*range(1, 21)), APPLY)
    await imports.run(without(*range(1, 21)), APPLY)

    async def found(query: str) -> list[str]:
        return [job["id"] for job in (await client.get(f"{IMPORTS}?{query}")).json()["items"]]

    assert await found("deletions=withheld") == [str(withheld_in["id"])]
    assert await found("deletions=withheld&deletions=reported") == [str(withheld_in["id"]), str(reported["id"])]
    assert await found("deletions=applied") == []


async def test_rows_that_wait_for_an_approval_are_a_metric(pool: asyncpg.Pool, imports: TableImports) -> None:
    def shown() -> list[float | None]:
        return [REGISTRY.get_sample_value("vapteke_gone_rows", {"status": each}) for each in ("reported", "withheld")]

    await imports.run(without(1, 2))
    await imports.run(without(*range(1, 21)), APPLY)
    async with pool.acquire() as connection:
        await WaitingCount().advance(connection)
    counted = shown()
    await imports.run(without(1))
    async with pool.acquire() as connection:
        await WaitingCount().advance(connection)

    assert (counted, shown()) == ([2, 18], [1, 0])


async def test_deletions_are_approved_by_their_number(
    client: httpx.AsyncClient, pool: asyncpg.Pool, imports: TableImports
) -> None:
    job = await imports.run(without(*range(1, 21)), APPLY)
    deletions = f"{IMPORTS}{job['id']}/deletions/"

    page = (await client.get(deletions, params={"status": "withheld", "limit": 2})).json()
    assert (page["count"], page["items"][0]) == (
        20,
        {"legacy_id": 1, "customer_id": await customer_of(pool, 1), "status": "withheld"},
    )
    too_few = await client.post(f"{deletions}approve/", json={"count": 19})
    assert (too_few.status_code, too_few.json()["code"], too_few.json()["count"]) == (409, "too_many_deletions", 20)
    assert await deleted(pool) == []
    approved = await client.post(f"{deletions}approve/", json={"count": 20})
    async with pool.acquire() as connection:
        while await gone_rows.delete_next(connection):
            pass

    assert (approved.status_code, approved.json()) == (202, {"count": 20})
    assert await deleted(pool) == [*range(1, 21)]
    assert (await client.post(f"{deletions}approve/", json={"count": 20})).json() == {"count": 0}
    assert (await client.get(deletions, params={"status": "applied"})).json()["count"] == 20


async def test_a_row_that_returns_before_its_approved_deletion_stays(pool: asyncpg.Pool, imports: TableImports) -> None:
    job = await imports.run(without(7))
    async with pool.acquire() as connection:
        assert await gone_rows.approve(connection, job["id"], 1) == 1
    running = await start_import(pool, BOUNDS)

    await imports.read(running, ALL)
    await imports.end(running)

    assert (await deleted(pool), await marks(pool)) == ([], {})


async def test_an_unknown_import_has_no_deletions(client: httpx.AsyncClient) -> None:
    path = f"{IMPORTS}0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11/deletions/"

    assert (await client.get(path)).status_code == 404
    assert (await client.post(f"{path}approve/", json={"count": 1})).status_code == 404
