"""Writing to the outbox: what Kafka would never take is refused at once."""

import asyncpg
import pytest
from customers_api.outbox import messages
from customers_api.outbox.messages import Message, NeverSent
from vapteke_shared.contract import limits, topics

TOPIC = topics.CUSTOMERS.name


@pytest.mark.parametrize("count", [0, 1, 3, 300])
async def test_messages_are_kept_in_the_order_given(pool: asyncpg.Pool, count: int) -> None:
    keys = [str(number * 7 % 1000) for number in range(count)]
    given = [Message(key, {"ce_type": "test"}, key.encode()) for key in keys]

    async with pool.acquire() as connection:
        await messages.add(connection, TOPIC, given)

    rows = await pool.fetch("SELECT topic, key, headers, value FROM outbox ORDER BY id")
    assert [tuple(row) for row in rows] == [(TOPIC, key, '{"ce_type": "test"}', key.encode()) for key in keys]


async def test_a_message_that_no_broker_takes_is_not_written(pool: asyncpg.Pool) -> None:
    large = Message("key", {}, b"x" * limits.RECORD_BYTES)

    async with pool.acquire() as connection:
        with pytest.raises(NeverSent, match=f"^the message has 1000005 bytes; {TOPIC} takes at most 1000000$"):
            await messages.add(connection, TOPIC, [large])

    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_message_to_a_topic_that_nobody_creates_is_not_written(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(NeverSent, match=r"is not a topic that `vapteke-topics` creates$"):
            await messages.add(connection, "vapteke.nobody.v1", [Message("key", {}, b"")])
