"""`events republish`: every customer's state goes to the outbox again, with the version that it has."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import databases
import httpx
import msgspec
import pytest
from customers_api.app import reset_offsets
from customers_api.customers import writes
from customers_api.customers.republish import AlreadyRunning, Republication
from customers_api.settings import WorkSettings

FAST, SLOW = 100_000, 50
CUSTOMERS = "/rest/v1/customers/"


@pytest.fixture
async def people(pool: asyncpg.Pool, client: httpx.AsyncClient) -> list[int]:
    """120 customers, the second of which is deleted, the third changed; their events are sent."""
    async with pool.acquire() as connection:
        ids = [(await writes.create(connection, f"7902516{n:04}", {}))["id"] for n in range(120)]
    await client.delete(f"{CUSTOMERS}{ids[1]}/")
    await client.patch(f"{CUSTOMERS}{ids[2]}/", json={"city_id": 7})
    await pool.execute("DELETE FROM outbox")
    return ids


@pytest.fixture
async def connection(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    async with pool.acquire() as connection:
        yield connection


async def sender(pool: asyncpg.Pool, seen: list[dict[str, Any]], most: list[int]) -> None:
    """Takes what waits, as the relay does."""
    while True:
        rows = await pool.fetch("DELETE FROM outbox RETURNING id, headers ->> 'ce_type' AS kind, value")
        most.append(len(rows))
        seen += [{"kind": row["kind"], **msgspec.json.decode(row["value"])} for row in rows]
        await asyncio.sleep(0.05)


async def republished(pool: asyncpg.Pool, connection: asyncpg.Connection) -> tuple[list[dict[str, Any]], int]:
    """What was sent, and how many rows waited at most."""
    seen: list[dict[str, Any]] = []
    most: list[int] = []
    sending = asyncio.create_task(sender(pool, seen, most))
    sent = await Republication(connection, FAST, lambda _: None).run()
    while len(seen) < sent:
        await asyncio.sleep(0.05)
    sending.cancel()
    return seen, max(most)


async def test_every_customer_is_sent_with_its_version_deleted_ones_too(
    pool: asyncpg.Pool, connection: asyncpg.Connection, people: list[int]
) -> None:
    versions = await pool.fetch("SELECT id, version FROM customers ORDER BY id")

    seen, _ = await republished(pool, connection)

    assert [(each["id"], each["version"]) for each in seen] == [tuple(row) for row in versions]
    kinds = {each["kind"] for each in seen if each["deleted_at"] is None}
    assert kinds == {"vapteke.customer.updated"}
    assert [(each["id"], each["kind"]) for each in seen if each["deleted_at"]] == [
        (people[1], "vapteke.customer.deleted")
    ]


async def test_a_run_that_was_cut_off_goes_on_where_it_was(
    pool: asyncpg.Pool, connection: asyncpg.Connection, people: list[int]
) -> None:
    said: list[str] = []
    first = asyncio.create_task(Republication(connection, SLOW, said.append).run())
    async with asyncio.timeout(30):
        while not await pool.fetchval("SELECT sum(sent) FROM republications"):
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await connection.execute("SELECT pg_advisory_unlock_all()")

    sent = await Republication(connection, FAST, said.append).run()

    ids = await pool.fetch("SELECT key::bigint FROM outbox ORDER BY id")
    assert sent == len(people)
    assert [row[0] for row in ids] == people
    assert any(text.startswith("continues after") for text in said)


async def test_the_outbox_does_not_grow_without_bound(
    pool: asyncpg.Pool, connection: asyncpg.Connection, people: list[int]
) -> None:
    said: list[str] = []
    running = asyncio.create_task(Republication(connection, SLOW, said.append, waiting_rows=60).run())
    async with asyncio.timeout(30):
        while not any("the outbox is full" in text for text in said):
            await asyncio.sleep(0.01)
    waiting = await pool.fetchval("SELECT count(*) FROM outbox")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert waiting == 100


async def test_two_at_once_are_one(pool: asyncpg.Pool, connection: asyncpg.Connection, people: list[int]) -> None:
    async with pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock(hashtext('customers.republish'))")

        with pytest.raises(AlreadyRunning):
            await Republication(connection, FAST, lambda _: None).run()


async def test_a_reset_of_the_offsets_begins_it_with_the_first_customer(
    pool: asyncpg.Pool, connection: asyncpg.Connection, people: list[int]
) -> None:
    await pool.execute("INSERT INTO republications (upto_id, last_id, sent, total) VALUES ($1, $1, 7, 7)", people[-1])
    async with pool.acquire() as other, other.transaction():
        await reset_offsets(other)

    seen, _ = await republished(pool, connection)

    assert len(seen) == len(people)


async def test_a_reset_of_the_offsets_ends_a_run_with_an_error(
    settings: WorkSettings, pool: asyncpg.Pool, people: list[int]
) -> None:
    run = asyncio.create_task(databases.try_command(settings, "customers-api", "events", "republish", "--rate=10"))
    async with asyncio.timeout(60):
        while not await pool.fetchval("SELECT sum(sent) FROM republications"):
            await asyncio.sleep(0.01)

    await databases.run_command(settings, "customers-api", "offsets", "reset")

    code, output, errors = await run
    assert (code, "are in the outbox" in output) == (1, False)
    assert errors == "`offsets reset` abandoned this run; run the same command again to send every customer\n"


async def test_a_change_meanwhile_is_never_overtaken_by_an_older_state(
    pool: asyncpg.Pool, connection: asyncpg.Connection, client: httpx.AsyncClient, people: list[int]
) -> None:
    async def change() -> None:
        for city in range(1, 60):
            await client.patch(f"{CUSTOMERS}{people[90]}/", json={"city_id": city})

    await asyncio.gather(change(), Republication(connection, SLOW, lambda _: None).run())

    rows = await pool.fetch("SELECT value FROM outbox WHERE key = $1 ORDER BY id", str(people[90]))
    versions = [msgspec.json.decode(row["value"])["version"] for row in rows]
    assert versions == sorted(versions)
    assert len(versions) == 60


async def test_the_command_tells_how_far_it_is_and_what_comes_next(
    settings: WorkSettings, pool: asyncpg.Pool, people: list[int]
) -> None:
    output = await databases.run_command(settings, "customers-api", "events", "republish")
    reset = await databases.run_command(settings, "customers-api", "offsets", "reset")

    assert "120 customers are in the outbox; `customers-api work` sends them" in output
    assert "next: `customers-api events republish`" in reset
