"""Writes to one customer: each event is the row as its write left it, and no creation is dated long before it."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import customers_topic
import pytest
from customers_api.customers import queries, restorations, writes
from customers_topic import State
from outbox_events import events_in_outbox
from vapteke_local.servers.postgres import Postgres

PHONE, OTHER = "79025163111", "79025163112"
OUTDATED = "SELECT statement_timestamp() > $1::timestamptz + $2::interval"
PROFILE = {
    "firstname": "Виктор",
    "lastname": "Иванов",
    "email": "user@example.com",
    "birthday": date(1980, 12, 21),
    "gender": "M",
    "city_id": 0,
    "last_auth_at": datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC),
}

Write = Callable[[asyncpg.Connection, int], Awaitable[object]]


async def state_of(pool: asyncpg.Pool, customer_id: int) -> State:
    """The customer's row by the fields of an event, with instants in milliseconds."""
    async with pool.acquire() as connection:
        return (await customers_topic.held(connection))[customer_id]


async def deleted(connection: asyncpg.Connection, customer_id: int) -> None:
    await writes.delete(connection, customer_id)


async def deleted_and_restored(connection: asyncpg.Connection, customer_id: int) -> None:
    await writes.delete(connection, customer_id)
    await restorations.restore(connection, customer_id)


@pytest.mark.parametrize(
    ("write", "changed"),
    [
        (lambda connection, customer_id: asyncio.sleep(0), ["phone", *PROFILE]),
        (
            lambda connection, customer_id: writes.update(connection, customer_id, {"lastname": "Ким", "gender": None}),
            ["lastname", "gender"],
        ),
        (
            lambda connection, customer_id: writes.update(connection, customer_id, {"firstname": None, "city_id": 3}),
            ["firstname", "city_id"],
        ),
        (lambda connection, customer_id: writes.change_phone(connection, customer_id, OTHER), ["phone"]),
        (deleted, ["deleted_at"]),
        (deleted_and_restored, ["deleted_at"]),
    ],
    ids=["created", "updated", "first name cleared", "phone changed", "deleted", "restored"],
)
async def test_the_event_of_a_write_is_the_row_that_it_leaves(
    pool: asyncpg.Pool, write: Write, changed: list[str]
) -> None:
    async with pool.acquire() as connection:
        customer = await writes.create(connection, PHONE, PROFILE)
        await write(connection, customer["id"])

    event = (await events_in_outbox(pool))[-1]
    assert event.changed == changed
    assert customers_topic.state(event) == await state_of(pool, customer["id"])


async def test_a_write_returns_the_row_that_it_leaves(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        created = await writes.create(connection, PHONE, PROFILE)
        after_creation = await state_of(pool, created["id"])
        updated = await writes.update(connection, created["id"], {"firstname": "Анна", "city_id": None})

    assert {name: customers_topic.in_milliseconds(created[name]) for name in after_creation} == after_creation
    after_update = await state_of(pool, created["id"])
    assert {name: customers_topic.in_milliseconds(updated[name]) for name in after_update} == after_update


async def test_events_of_concurrent_writes_are_the_rows_in_the_order_of_versions(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        customer_id = (await writes.create(connection, PHONE, {}))["id"]

    async def write(number: int) -> None:
        async with pool.acquire() as connection:
            if number % 3:
                await writes.update(connection, customer_id, {"firstname": f"Имя {number}", "city_id": number})
            else:
                await writes.change_phone(connection, customer_id, f"7902516{number:04}")

    await asyncio.gather(*(write(number) for number in range(30)))

    events = await events_in_outbox(pool)
    assert [event.version for event in events] == list(range(1, 32))
    assert sorted(events, key=lambda event: event.updated_at) == events
    for before, after in itertools.pairwise(events):
        differing = [name for name in ("phone", *PROFILE) if getattr(before, name) != getattr(after, name)]
        assert differing == after.changed
    assert customers_topic.state(events[-1]) == await state_of(pool, customer_id)


class Delayed(asyncpg.Connection):
    """A connection that does not begin the first creation before its date is outdated."""

    delayed = False

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        if "INSERT INTO customers" in query and not self.delayed:
            self.delayed = True
            [now] = [value for value in args if isinstance(value, datetime)]
            while not await super().fetchval(OUTDATED, now, queries.BACKDATED):
                await asyncio.sleep(0.01)
        return await super().fetchval(query, *args, **options)


async def test_a_creation_is_not_dated_long_before_its_transaction(
    postgres_server: Postgres, database_name: str, pool: asyncpg.Pool
) -> None:
    begun = await pool.fetchval("SELECT now()")
    connection = await asyncpg.connect(
        postgres_server.dsn_of(database_name),
        server_settings={"search_path": "customers"},
        connection_class=Delayed,
    )

    customer = await writes.create(connection, PHONE, {})
    await connection.close()

    assert customer["created_at"] > begun + queries.BACKDATED
    [event] = await events_in_outbox(pool)
    assert customers_topic.state(event) == await state_of(pool, customer["id"])


class Interrupted(asyncpg.Connection):
    """A connection that waits for the next of `interruptions`, if there is one, after each of its statements."""

    interruptions: Iterator[Callable[[], Awaitable[object]]] = iter(())

    async def execute(self, *args: Any, **options: Any) -> Any:
        return await self._then(super().execute(*args, **options))

    async def fetch(self, *args: Any, **options: Any) -> Any:
        return await self._then(super().fetch(*args, **options))

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        return await self._then(super().fetchrow(*args, **options))

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        return await self._then(super().fetchval(*args, **options))

    async def _then(self, statement: Awaitable[Any]) -> Any:
        result = await statement
        for interruption in itertools.islice(self.interruptions, 1):
            await interruption()
        return result


@pytest.mark.parametrize("statements", range(5))
@pytest.mark.parametrize(
    "write",
    [
        lambda connection, customer_id: writes.update(connection, customer_id, {"city_id": 1}),
        lambda connection, customer_id: writes.change_phone(connection, customer_id, OTHER),
        writes.delete,
        restorations.restore,
    ],
    ids=["update", "change the phone", "delete", "restore"],
)
async def test_a_write_to_a_customer_who_is_created_during_it_is_a_version_of_its_own(
    postgres_server: Postgres, database_name: str, pool: asyncpg.Pool, write: Write, statements: int
) -> None:
    connection = await asyncpg.connect(
        postgres_server.dsn_of(database_name),
        server_settings={"search_path": "customers"},
        connection_class=Interrupted,
    )
    async with pool.acquire() as creating, pool.acquire() as rival:
        creation = creating.transaction()
        await creation.start()
        customer_id = (await writes.create(creating, PHONE, {}))["id"]
        updates: list[asyncio.Task[Any]] = []

        async def update() -> None:
            updates.append(asyncio.create_task(writes.update(rival, customer_id, {"city_id": 2})))
            await asyncio.wait(updates, timeout=0.2)  # until it has ended, or waits for the write

        nothing = itertools.repeat(lambda: asyncio.sleep(0), statements)
        connection.interruptions = itertools.chain(nothing, [creation.commit, update])
        with suppress(queries.CustomerNotFound):
            await write(connection, customer_id)
        for interruption in connection.interruptions:  # the write ended earlier
            await interruption()
        with suppress(queries.CustomerNotFound):  # the write has deleted the customer
            await updates[0]
    await connection.close()

    events = await events_in_outbox(pool)
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert customers_topic.state(events[-1]) == await state_of(pool, customer_id)
