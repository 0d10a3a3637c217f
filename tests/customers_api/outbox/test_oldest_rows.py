"""The oldest rows of the outbox: each is read once, in whatever order they become visible, and none is skipped."""

import time
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from customers_api.outbox import messages
from customers_api.outbox.messages import Message
from customers_api.outbox.oldest_rows import BATCH_ROWS, OldestRows
from vapteke_shared.contract import topics

TOPIC, OTHER = topics.CUSTOMERS.name, topics.IMPORT_TASKS.name


@pytest.fixture
async def connection(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
def oldest_rows(connection: asyncpg.Connection) -> OldestRows:
    return OldestRows(connection)


async def write(connection: asyncpg.Connection | asyncpg.Pool, *keys: str, topic: str = TOPIC) -> None:
    await messages.add(connection, topic, [Message(key, {}, b"value") for key in keys])


async def passed(oldest_rows: OldestRows, without: Sequence[str] = ()) -> list[str]:
    """The keys of a batch that was read and deleted."""
    rows = await oldest_rows.read(without)
    if rows:
        await oldest_rows.delete(rows)
    return [row["key"] for row in rows]


async def pass_many(pool: asyncpg.Pool, oldest_rows: OldestRows, batches: int) -> None:
    for _ in range(batches):
        await pool.execute(
            "INSERT INTO outbox (topic, key, headers) SELECT $1, n::text, '{}' FROM generate_series(1, $2::int) n",
            TOPIC,
            BATCH_ROWS,
        )
        assert len(await passed(oldest_rows)) == BATCH_ROWS


async def test_rows_are_read_in_the_order_of_their_ids_and_gone_when_deleted(
    pool: asyncpg.Pool, oldest_rows: OldestRows
) -> None:
    await write(pool, "b", "a")
    await write(pool, "c")

    assert await passed(oldest_rows) == ["b", "a", "c"]

    assert await passed(oldest_rows) == []
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_batch_is_bounded_in_rows(pool: asyncpg.Pool, oldest_rows: OldestRows) -> None:
    await write(pool, *(str(number) for number in range(BATCH_ROWS + 1)))

    assert [len(await passed(oldest_rows)), await passed(oldest_rows)] == [BATCH_ROWS, [str(BATCH_ROWS)]]


async def test_a_batch_is_bounded_in_bytes(pool: asyncpg.Pool, oldest_rows: OldestRows) -> None:
    value = b"x" * 900_000
    await messages.add(pool, TOPIC, [Message(str(number), {}, value) for number in range(12)])

    assert [len(await passed(oldest_rows)), len(await passed(oldest_rows))] == [10, 2]


async def test_what_becomes_visible_late_is_read_however_much_has_passed_meanwhile(
    pool: asyncpg.Pool, oldest_rows: OldestRows
) -> None:
    async with pool.acquire() as slow, slow.transaction():
        await write(slow, "late")
        await pass_many(pool, oldest_rows, 5)
        assert await passed(oldest_rows) == []

    assert await passed(oldest_rows) == ["late"]


async def test_what_is_written_between_reading_and_deleting_stays(pool: asyncpg.Pool, oldest_rows: OldestRows) -> None:
    await write(pool, "before")
    async with pool.acquire() as slow, slow.transaction():
        await write(slow, "between")
        await write(pool, "after")
        rows = await oldest_rows.read()

    await oldest_rows.delete(rows)

    assert [row["key"] for row in rows] == ["before", "after"]
    assert await passed(oldest_rows) == ["between"]


async def test_rows_of_a_topic_that_is_left_out_wait_however_much_passes_meanwhile(
    pool: asyncpg.Pool, oldest_rows: OldestRows
) -> None:
    await write(pool, "held", topic=OTHER)
    for number in range(5):
        await write(pool, str(number))
        assert await passed(oldest_rows, without=[OTHER]) == [str(number)]

    assert await passed(oldest_rows) == ["held"]


async def test_entries_that_a_long_snapshot_keeps_are_not_stepped_over(
    pool: asyncpg.Pool, connection: asyncpg.Connection, oldest_rows: OldestRows
) -> None:
    async with pool.acquire() as backup, backup.transaction(isolation="repeatable_read"):
        await backup.fetchval("SELECT count(*) FROM outbox")
        await lose_an_id(pool)
        await pass_many(pool, oldest_rows, 10)

        seconds, from_the_first_entry = await seconds_of(oldest_rows), await seconds_of(OldestRows(connection))

    assert seconds < from_the_first_entry / 5


async def lose_an_id(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await write(connection, "lost")
        await transaction.rollback()


async def seconds_of(oldest_rows: OldestRows) -> float:
    """The quickest of ten readings of nothing."""
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        assert not await oldest_rows.read()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
