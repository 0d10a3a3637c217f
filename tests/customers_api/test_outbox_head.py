"""The head of the outbox: every row once, whatever order they become visible in, and no step over what is gone."""

import time
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from customers_api import outbox
from customers_api.outbox import Message
from customers_api.outbox_head import BATCH_ROWS, Head
from vapteke_shared.contract import topics

TOPIC, OTHER = topics.CUSTOMERS.name, topics.IMPORT_TASKS.name


@pytest.fixture
async def connection(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
def head(connection: asyncpg.Connection) -> Head:
    return Head(connection)


async def write(connection: asyncpg.Connection | asyncpg.Pool, *keys: str, topic: str = TOPIC) -> None:
    await outbox.add(connection, topic, [Message(key, {}, b"value") for key in keys])


async def passed(head: Head, without: Sequence[str] = ()) -> list[str]:
    """The keys of a batch that was read and deleted."""
    rows = await head.read(without)
    if rows:
        await head.delete(rows)
    return [row["key"] for row in rows]


async def pass_many(pool: asyncpg.Pool, head: Head, batches: int) -> None:
    for _ in range(batches):
        await pool.execute(
            "INSERT INTO outbox (topic, key, headers) SELECT $1, n::text, '{}' FROM generate_series(1, $2::int) n",
            TOPIC,
            BATCH_ROWS,
        )
        assert len(await passed(head)) == BATCH_ROWS


async def test_rows_are_read_in_the_order_of_their_ids_and_gone_when_deleted(pool: asyncpg.Pool, head: Head) -> None:
    await write(pool, "b", "a")
    await write(pool, "c")

    assert await passed(head) == ["b", "a", "c"]

    assert await passed(head) == []
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_batch_is_bounded_in_rows(pool: asyncpg.Pool, head: Head) -> None:
    await write(pool, *(str(number) for number in range(BATCH_ROWS + 1)))

    assert [len(await passed(head)), await passed(head)] == [BATCH_ROWS, [str(BATCH_ROWS)]]


async def test_a_batch_is_bounded_in_bytes(pool: asyncpg.Pool, head: Head) -> None:
    value = b"x" * 900_000
    await outbox.add(pool, TOPIC, [Message(str(number), {}, value) for number in range(12)])

    assert [len(await passed(head)), len(await passed(head))] == [10, 2]


async def test_what_becomes_visible_late_is_read_however_much_has_passed_meanwhile(
    pool: asyncpg.Pool, head: Head
) -> None:
    async with pool.acquire() as slow, slow.transaction():
        await write(slow, "late")
        await pass_many(pool, head, 5)
        assert await passed(head) == []

    assert await passed(head) == ["late"]


async def test_what_is_written_between_reading_and_deleting_stays(pool: asyncpg.Pool, head: Head) -> None:
    await write(pool, "before")
    async with pool.acquire() as slow, slow.transaction():
        await write(slow, "between")
        await write(pool, "after")
        rows = await head.read()

    await head.delete(rows)

    assert [row["key"] for row in rows] == ["before", "after"]
    assert await passed(head) == ["between"]


async def test_rows_of_a_topic_that_is_left_out_wait_however_much_passes_meanwhile(
    pool: asyncpg.Pool, head: Head
) -> None:
    await write(pool, "held", topic=OTHER)
    for number in range(5):
        await write(pool, str(number))
        assert await passed(head, without=[OTHER]) == [str(number)]

    assert await passed(head) == ["held"]


async def test_entries_that_a_long_snapshot_keeps_are_not_stepped_over(
    pool: asyncpg.Pool, connection: asyncpg.Connection, head: Head
) -> None:
    async with pool.acquire() as backup, backup.transaction(isolation="repeatable_read"):
        await backup.fetchval("SELECT count(*) FROM outbox")
        await lose_an_id(pool)
        await pass_many(pool, head, 10)

        seconds, from_the_first_entry = await seconds_of(head), await seconds_of(Head(connection))

    assert seconds < from_the_first_entry / 5


async def lose_an_id(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await write(connection, "lost")
        await transaction.rollback()


async def seconds_of(head: Head) -> float:
    """The quickest of ten readings of nothing."""
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        assert not await head.read()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
