"""Texts that an earlier release kept in other forms heal after the next import, whoever wrote them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from customers_api.customers import writes
from customers_api.imports import reread_customers
from legacy_events import end_import, start_import
from vapteke_shared.contract import texts
from vapteke_shared.process.health import Health

CUSTOMERS = "/rest/v1/customers/"
NFD, NFC = "Андреи\u0306", "Андрей"
PLAIN = {"firstname": "Анна", "lastname": "O'Brien-Ёлкина", "email": "anna@example.com"}


async def kept(pool: asyncpg.Pool, number: int, **fields: object) -> int:
    """A customer as an earlier release let it be written, without a legacy row; its event is sent."""
    async with pool.acquire() as connection:
        customer_id: int = (await writes.create(connection, f"7902516{number:04}", fields))["id"]
    await pool.execute("DELETE FROM outbox")
    return customer_id


async def completed_import(pool: asyncpg.Pool) -> None:
    await start_import(pool)
    await end_import(pool)
    await pool.execute("DELETE FROM outbox")


async def reread(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        while await reread_customers.rewrite_next(connection):
            pass


async def texts_of(pool: asyncpg.Pool, customer_id: int) -> tuple[object, ...]:
    """First name, last name, e-mail, version."""
    return tuple(
        await pool.fetchrow(
            "SELECT f.name, c.lastname, c.email, c.version FROM customers c"
            " LEFT JOIN firstnames f ON f.id = c.firstname_id WHERE c.id = $1",
            customer_id,
        )
    )


async def events(pool: asyncpg.Pool) -> list[Mapping[str, Any]]:
    rows = await pool.fetch("SELECT headers ->> 'ce_type' AS kind, value FROM outbox ORDER BY id")
    return [{"kind": row["kind"], **msgspec.json.decode(row["value"])} for row in rows]


async def somebody_waits(pool: asyncpg.Pool) -> None:
    """For a lock in this database."""
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    async with asyncio.timeout(30):
        while not await pool.fetchval(waiting):
            await asyncio.sleep(0.01)


async def test_what_an_earlier_release_kept_is_found_after_an_import(
    pool: asyncpg.Pool, client: httpx.AsyncClient
) -> None:
    named = await kept(pool, 1, firstname=NFD, lastname="Ли\u200bпа", city_id=3)
    addressed = await kept(pool, 2, email="\u2060ivan@xn--80a1acny.xn--p1ai")
    await completed_import(pool)

    await reread(pool)

    assert await texts_of(pool, named) == (NFC, "Липа", None, 2)
    assert await texts_of(pool, addressed) == (None, None, "ivan@почта.рф", 2)
    for query in ({"firstname": NFC}, {"lastname": "липа"}, {"email": "ivan@xn--80a1acny.xn--p1ai"}):
        assert (await client.get(CUSTOMERS, params=query)).json()["count"] == 1, query
    said = [(each["kind"], each["id"], each["version"], each["changed"]) for each in await events(pool)]
    assert said == [
        ("vapteke.customer.updated", named, 2, ["firstname", "lastname"]),
        ("vapteke.customer.updated", addressed, 2, ["email"]),
    ]
    assert (await events(pool))[0]["city_id"] == 3


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [
        ("firstname", "\u200b\u3164", None),
        ("firstname", " Анна", "Анна"),
        ("lastname", "Ли\nпа", "Ли па"),
        ("lastname", "", None),
        ("email", "anna@EXAMPLE.com", "anna@example.com"),
        ("email", "Info@example.com", "info@example.com"),
        ("email", "\u200b", None),
    ],
)
async def test_a_text_becomes_what_this_release_would_keep(
    pool: asyncpg.Pool, field: str, before: str, after: str | None
) -> None:
    one = await kept(pool, 1, **{field: before})
    await completed_import(pool)

    await reread(pool)

    assert dict(zip(PLAIN, await texts_of(pool, one), strict=False)) == dict.fromkeys(PLAIN) | {field: after}
    assert [each[field] for each in await events(pool)] == [after]


@pytest.mark.parametrize(
    "fields", [PLAIN, {"lastname": "Ngô O’Brien"}, {"email": "и\u0306 без адреса"}, {"firstname": "\u0958" * 99}, {}]
)
async def test_what_is_right_or_would_be_refused_is_left(pool: asyncpg.Pool, fields: Mapping[str, str]) -> None:
    one = await kept(pool, 1, **fields)
    before = await pool.fetchrow("SELECT xmin::text, * FROM customers WHERE id = $1", one)
    await completed_import(pool)

    await reread(pool)

    assert await pool.fetchrow("SELECT xmin::text, * FROM customers WHERE id = $1", one) == before
    assert await events(pool) == []


async def test_a_deleted_customer_heals_too(pool: asyncpg.Pool, client: httpx.AsyncClient) -> None:
    one = await kept(pool, 1, firstname=NFD)
    await client.delete(f"{CUSTOMERS}{one}/")
    await completed_import(pool)

    await reread(pool)

    assert await texts_of(pool, one) == (NFC, None, None, 3)
    assert [each["deleted_at"] is not None for each in await events(pool)] == [True]


async def test_nothing_happens_without_a_completed_import_and_a_second_one_writes_nothing(pool: asyncpg.Pool) -> None:
    one = await kept(pool, 1, firstname=NFD)
    await start_import(pool)
    await end_import(pool, "failed")
    await reread(pool)
    assert (await texts_of(pool, one))[-1] == 1
    await completed_import(pool)
    await reread(pool)
    await completed_import(pool)

    await reread(pool)

    assert await texts_of(pool, one) == (NFC, None, None, 2)
    assert await events(pool) == []


async def test_an_import_of_changes_that_has_read_nothing_has_no_customer_read_again(pool: asyncpg.Pool) -> None:
    await completed_import(pool)
    await reread(pool)
    before = await pool.fetchrow("SELECT * FROM customer_rereads")

    for read in (0, 1):
        await pool.execute(
            "INSERT INTO imports (id, kind, status, read, finished_at)"
            " VALUES (gen_random_uuid(), 'changes', 'completed', $1, now())",
            read,
        )
        await reread(pool)
        assert (await pool.fetchrow("SELECT * FROM customer_rereads") == before) == (read == 0)


async def test_what_an_earlier_release_writes_meanwhile_heals_after_the_next_import(pool: asyncpg.Pool) -> None:
    await completed_import(pool)
    await reread(pool)
    late = await kept(pool, 1, firstname=NFD)
    await completed_import(pool)

    await reread(pool)

    assert await texts_of(pool, late) == (NFC, None, None, 2)


async def test_every_customer_is_read_again_once_the_rule_has_changed_and_else_only_those_that_changed(
    pool: asyncpg.Pool,
) -> None:
    one = await kept(pool, 1, firstname=NFD)
    await pool.execute("UPDATE customers SET updated_at = now() - interval '2 hours'")
    await pool.execute("UPDATE customer_rereads SET rule_version = $1, begun_at = now()", texts.VERSION)
    await completed_import(pool)
    await reread(pool)
    assert (await texts_of(pool, one))[-1] == 1
    await pool.execute("UPDATE customer_rereads SET rule_version = $1", texts.VERSION - 1)
    await completed_import(pool)

    await reread(pool)

    assert await texts_of(pool, one) == (NFC, None, None, 2)


async def test_after_an_end_in_the_middle_it_goes_on_and_nobody_changes_twice(pool: asyncpg.Pool) -> None:
    people = [await kept(pool, number, firstname=NFD) for number in range(250)]
    await completed_import(pool)
    async with pool.acquire() as connection:
        await reread_customers.rewrite_next(connection)
    async with pool.acquire() as writer, writer.transaction():
        await writer.execute("SELECT FROM customers WHERE id = $1 FOR UPDATE", people[150])
        cut_off = asyncio.create_task(reread(pool))
        await somebody_waits(pool)
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
    versions = [(await texts_of(pool, each))[-1] for each in people]

    await reread(pool)

    assert versions == [2] * 100 + [1] * 150
    assert [await texts_of(pool, each) for each in people] == [(NFC, None, None, 2)] * 250
    assert [each["id"] for each in await events(pool)] == people


async def test_a_change_while_it_waits_for_the_customer_stays(pool: asyncpg.Pool) -> None:
    named, other = await kept(pool, 1, firstname=NFD, email="a\u200b@example.com"), await kept(pool, 2, firstname=NFD)
    await completed_import(pool)
    async with pool.acquire() as writer, writer.transaction():
        await writer.execute("UPDATE customers SET email = NULL, version = version + 1 WHERE id = $1", named)
        healing = asyncio.create_task(reread(pool))
        await somebody_waits(pool)

    await healing

    assert await texts_of(pool, named) == (NFC, None, None, 3)
    assert await texts_of(pool, other) == (NFC, None, None, 2)
    said = {each["id"]: each["changed"] for each in await events(pool)}
    assert said == {named: ["firstname"], other: ["firstname"]}


async def test_the_api_writes_while_customers_heal_and_loses_nothing(
    pool: asyncpg.Pool, client: httpx.AsyncClient
) -> None:
    people = [await kept(pool, number, firstname=NFD) for number in range(150)]
    await completed_import(pool)

    async def write() -> None:
        for each in people:
            assert (await client.patch(f"{CUSTOMERS}{each}/", json={"city_id": 7})).status_code == 200

    await asyncio.gather(write(), reread(pool))

    assert [await texts_of(pool, each) for each in people] == [(NFC, None, None, 3)] * 150
    assert await pool.fetchval("SELECT count(*) FROM customers WHERE city_id = 7") == 150
    versions = await pool.fetch("SELECT key, count(*) FROM outbox WHERE topic LIKE '%.customers.v1' GROUP BY key")
    assert {row[1] for row in versions} == {2}


async def test_two_processes_read_the_customers_once(pool: asyncpg.Pool) -> None:
    one = await kept(pool, 1, firstname=NFD)
    await completed_import(pool)
    stopping = asyncio.Event()
    both = [asyncio.create_task(reread_customers.run(pool, Health("texts"), stopping)) for _ in range(2)]
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT import_id IS NULL OR last_id IS NOT NULL FROM customer_rereads"):
            await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.gather(*both)

    assert await texts_of(pool, one) == (NFC, None, None, 2)
    assert len(await events(pool)) == 1
