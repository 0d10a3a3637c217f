"""Stored offsets on a real Kafka: removed records, topics that are recreated or get partitions, another Kafka."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from kafka_topics import TopicOfTest, reading, topic_of_test
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.fetch_limits import MAX_BYTES
from vapteke_shared.process.settings import WorkSettings

MADE_AGAIN = "was deleted and created again since its offsets were stored"
RESET = "`service offsets reset` starts from the beginning"


@pytest.fixture
def with_kafka(settings: WorkSettings, kafka_server: Kafka) -> WorkSettings:
    return settings.model_copy(update={"kafka_bootstrap_servers": kafka_server.bootstrap})


@pytest.fixture
async def topic(kafka_server: Kafka) -> AsyncIterator[TopicOfTest]:
    async with topic_of_test(kafka_server.bootstrap, f"test.offsets.{uuid4().hex}") as topic:
        yield topic


def values(partition: int, first: int, count: int) -> list[bytes]:
    return [f"{partition}/{number}".encode() for number in range(first, first + count)]


async def reset(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await stored_offsets.reset(connection)


@pytest.mark.parametrize("part", [1, 3, 1000])
async def test_a_batch_applied_in_parts_leaves_nothing_out_when_records_were_removed(
    with_kafka: WorkSettings, pool: asyncpg.Pool, topic: TopicOfTest, part: int
) -> None:
    await topic.create(8)
    for first in (0, 10, 20):
        for partition in range(8):
            await topic.write(partition, *values(partition, first, 10))
    async with reading(with_kafka, pool, topic.name, part) as reader:
        await reader.has_read({value for partition in range(8) for value in values(partition, 0, 30)})
    await topic.remove_before(dict.fromkeys(range(8), 15))  # amid the second transaction
    await reset(pool)

    async with reading(with_kafka, pool, topic.name, part) as reader:
        await reader.has_read({value for partition in range(8) for value in values(partition, 14, 16)})
        for partition in range(8):
            await topic.write(partition, *values(partition, 30, 2))
        await reader.has_read({value for partition in range(8) for value in values(partition, 30, 2)})
        await reader.says("")

        assert reader.health.restart_reasons == {}


async def test_a_topic_that_was_created_again_and_filled_past_the_stored_offset_is_refused(
    with_kafka: WorkSettings, pool: asyncpg.Pool, topic: TopicOfTest
) -> None:
    await topic.create(1)
    await topic.write(0, *values(0, 0, 5))
    async with reading(with_kafka, pool, topic.name) as reader:
        await reader.has_read(set(values(0, 0, 5)))
    await topic.delete()
    await topic.create(1)
    await topic.write(0, *values(0, 100, 50))

    async with reading(with_kafka, pool, topic.name) as reader:
        await reader.says(MADE_AGAIN)
        text = str(reader.health.faults)
        before = set(reader.read)
        await reset(pool)

        await reader.has_read(set(values(0, 100, 50)))
        await reader.says("")

    assert RESET in text
    assert before == set()


async def test_a_topic_created_again_while_the_consumer_runs_is_refused(
    with_kafka: WorkSettings, pool: asyncpg.Pool, topic: TopicOfTest
) -> None:
    await topic.create(1)
    async with reading(with_kafka, pool, topic.name) as reader:
        await topic.write(0, *values(0, 0, 5))
        await reader.has_read(set(values(0, 0, 5)))
        await topic.delete()
        await topic.create(1)
        await topic.write(0, *values(0, 100, 50))

        await reader.says(MADE_AGAIN)
        await reset(pool)

        await reader.has_read(set(values(0, 100, 50)))
        await reader.says("")


async def test_the_offsets_of_an_earlier_release_take_the_first_identity_seen(
    with_kafka: WorkSettings, pool: asyncpg.Pool, topic: TopicOfTest
) -> None:
    await topic.create(1)
    await topic.write(0, *values(0, 0, 5))
    async with reading(with_kafka, pool, topic.name) as reader:
        await reader.has_read(set(values(0, 0, 5)))
    known: UUID = await pool.fetchval("SELECT topic_id FROM consumed_offsets")
    await pool.execute("UPDATE consumed_offsets SET topic_id = NULL")
    await topic.write(0, *values(0, 5, 1))

    async with reading(with_kafka, pool, topic.name) as reader:
        await reader.has_read(set(values(0, 5, 1)))
        await reader.says("")

        assert reader.read == set(values(0, 5, 1))
        assert await pool.fetchval("SELECT topic_id FROM consumed_offsets") == known


async def test_partitions_that_are_added_are_read_from_their_beginning(
    with_kafka: WorkSettings, pool: asyncpg.Pool, topic: TopicOfTest
) -> None:
    await topic.create(1)
    async with reading(with_kafka, pool, topic.name) as reader:
        await topic.write(0, *values(0, 0, 5))
        await reader.has_read(set(values(0, 0, 5)))

        await topic.grow(3)
        await topic.write(2, *values(2, 0, 5))

        await reader.has_read(set(values(2, 0, 5)))
        await reader.says("")


async def test_a_record_that_unpacks_to_too_much_is_passed_over_by_name(
    with_kafka: WorkSettings, pool: asyncpg.Pool, topic: TopicOfTest
) -> None:
    await topic.create(1)
    async with reading(with_kafka, pool, topic.name) as reader:
        await topic.write(0, bytes(16 * 1024 * 1024))
        await topic.write(0, b"after")

        await reader.has_read({b"after"})

        assert reader.read == {
            f"offsets 0 to 0 are skipped: decompressed they have more than {MAX_BYTES} bytes".encode(),
            b"after",
        }
