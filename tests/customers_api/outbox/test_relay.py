"""The relay: in order, in transactions, one at a time; what Kafka does not take holds up its own topic alone."""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import ProducerFenced
from customers_api.outbox import messages, relay
from customers_api.outbox.messages import Message
from customers_api.outbox.oldest_rows import BATCH_ROWS, OldestRows
from customers_api.outbox.relay import Relay
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from prometheus_client import REGISTRY
from relays import TOPIC, Reader, Running, cut_off_leader, empty, say
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.contract import limits, topics
from vapteke_shared.messaging import create_topics, kafka_clients
from vapteke_shared.messaging.batch_producer import BatchProducer
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health


@pytest.fixture
async def with_kafka(settings: WorkSettings, kafka_server: Kafka) -> WorkSettings:
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    return settings.model_copy(update={"kafka_bootstrap_servers": kafka_server.bootstrap})


@pytest.fixture
async def reader(with_kafka: WorkSettings) -> AsyncIterator[Reader]:
    async with Reader(with_kafka.kafka_bootstrap_servers) as reader:
        yield reader


@pytest.fixture
def health() -> Health:
    return Health("outbox")


async def test_messages_are_sent_in_order_and_then_gone(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    keys = [f"order-{number % 7}" for number in range(BATCH_ROWS * 2 + 1)]
    await say(pool, *keys)

    async with Running(Relay(with_kafka, pool, Health()), Relay(with_kafka, pool, Health())):
        await empty(pool)

    expected = {f"order-{number}": list(range(number, len(keys), 7)) for number in range(7)}
    assert await reader.arrived() == (expected, 0)


async def test_a_call_lets_the_relay_send_before_it_would_look_again(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    relay = Relay(with_kafka, pool, Health())
    relay.poll_seconds = 3600
    await say(pool, "first")
    async with Running(relay):
        await empty(pool)
        await say(pool, "second")

        relay.wake_up.call()

        await empty(pool)
    assert await reader.arrived() == ({"first": [0], "second": [0]}, 0)


async def test_batches_that_are_cut_at_their_bytes_follow_each_other_without_a_pause(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    relay = Relay(with_kafka, pool, Health())
    relay.poll_seconds = 3600
    await messages.add(pool, TOPIC, [Message("key", {}, os.urandom(900_000)) for _ in range(12)])

    async with Running(relay):
        await empty(pool)

    assert len(await reader.records()) == 12


async def test_a_record_is_the_message_and_its_partition_that_of_its_key(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    headers = {"ce_type": "test", "ce_subject": "Ёлкин"}
    await messages.add(pool, TOPIC, [Message("14722", headers, b'{"id":14722}')])

    async with Running(Relay(with_kafka, pool, Health())):
        await empty(pool)

    [record] = await reader.records()
    assert (record.key, record.value) == (b"14722", b'{"id":14722}')
    assert {name: content.decode() for name, content in record.headers} == headers


async def test_a_second_relay_takes_over_from_one_that_loses_its_connection(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    async with Running(Relay(with_kafka, pool, Health()), Relay(with_kafka, pool, Health())):
        for _ in range(3):
            await say(pool, "taken over")
            await empty(pool, 10)
            await cut_off_leader(pool)

    assert [record.key for record in await reader.records()] == [b"taken over"] * 3


async def test_a_relay_that_has_lost_its_place_sends_nothing_of_what_it_had_read(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    await say(pool, "read by two", "read by two")
    zombie = relay.create_producer(with_kafka)
    await zombie.start()
    async with pool.acquire() as connection:
        rows = await OldestRows(connection).read()
    async with Running(Relay(with_kafka, pool, Health())):
        await empty(pool)

    with pytest.raises(ProducerFenced):
        await relay.publish(zombie, rows)

    await kafka_clients.stop_producer(zombie)
    assert await reader.arrived() == ({"read by two": [0, 1]}, 0)


async def test_a_relay_that_has_lost_its_place_cannot_commit_what_it_has_sent(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    await say(pool, "sent by two", "sent by two")
    zombie = relay.create_producer(with_kafka)
    await zombie.start()
    await zombie.begin_transaction()
    batches = BatchProducer(zombie, 10)
    for place in range(2):
        await batches.add(TOPIC, b"sent by two", str(place).encode(), [])
    await batches.acknowledged()
    async with Running(Relay(with_kafka, pool, Health())):
        await empty(pool)

    with pytest.raises(ProducerFenced):
        await zombie.commit_transaction()

    await kafka_clients.stop_producer(zombie)
    assert await reader.arrived() == ({"sent by two": [0, 1]}, 0)


async def test_without_kafka_the_messages_wait_and_health_and_gauges_say_so(
    settings: WorkSettings, pool: asyncpg.Pool, health: Health
) -> None:
    await say(pool, "waiting", "waiting")

    async with Running(Relay(settings, pool, health)), measuring(pool):
        await until_faults(
            health, "waits: Kafka at 127.0.0.1:1 cannot be reached (Connection refused): check KAFKA_BOOTSTRAP_SERVERS"
        )
        await until_gauges(2)
        await say(pool, "one more")
        await until_gauges(3)
        age = gauge("oldest_seconds")
        await until_gauges(3, older_than=age)

    assert await pool.fetchval("SELECT count(*) FROM outbox") == 3


async def test_without_postgres_the_gauges_say_nothing(settings: WorkSettings) -> None:
    relay.rows_waiting.set(5)
    nowhere = settings.model_copy(update={"postgres_port": [1]})

    async with pools.create_pool(nowhere, SCHEMA, 1) as pool, measuring(pool), asyncio.timeout(120):
        while not math.isnan(gauge("rows")) or not math.isnan(gauge("oldest_seconds")):
            await asyncio.sleep(0.02)


async def test_rows_of_a_missing_topic_wait_and_the_others_are_sent(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader, health: Health
) -> None:
    missing = f"test.missing.{uuid4().hex}"
    await write_past_the_checks(pool, missing, b"1")
    await say(pool, "not held up")

    async with Running(Relay(with_kafka, pool, health)):
        await until_faults(health, f"{missing}: is missing; `vapteke-topics` creates it")
        await say(pool, "nor this one")
        await until_waiting(pool, 1)
        async with kafka_clients.admin(with_kafka) as admin:
            await admin.create_topics([NewTopic(missing, 1, 1)])
        await empty(pool)
        await until_faults(health, "")

    assert {record.key for record in await reader.records()} == {b"not held up", b"nor this one"}


async def test_a_row_that_its_topic_refuses_holds_up_that_topic_alone(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader, health: Health
) -> None:
    await write_past_the_checks(pool, topics.LEGACY_CUSTOMERS_DEAD.name, os.urandom(1_100_000))
    await say(pool, "not held up")

    async with Running(Relay(with_kafka, pool, health)):
        await until_waiting(pool, 1)
        await until_faults(health, f"{topics.LEGACY_CUSTOMERS_DEAD.name}: MessageSizeTooLargeError")
        await say(pool, "nor this one")
        await until_waiting(pool, 1)

    assert {record.key for record in await reader.records()} == {b"not held up", b"nor this one"}


async def test_the_largest_messages_that_may_be_written_are_sent(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: Reader
) -> None:
    size = limits.RECORD_BYTES - len("key") - len("{}")
    values = [os.urandom(size) for _ in range(3)]
    await messages.add(pool, TOPIC, [Message("key", {}, value) for value in values])

    async with Running(Relay(with_kafka, pool, Health())):
        await empty(pool)

    assert [record.value for record in await reader.records()] == values


async def write_past_the_checks(pool: asyncpg.Pool, topic: str, value: bytes) -> None:
    await pool.execute("INSERT INTO outbox (topic, key, headers, value) VALUES ($1, 'key', '{}', $2)", topic, value)


@asynccontextmanager
async def measuring(pool: asyncpg.Pool) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    task = asyncio.create_task(relay.measure(pool, stopping))
    yield
    stopping.set()
    await task


async def until_faults(health: Health, text: str) -> None:
    """Until the outbox is ill with this, or well: no text."""
    async with asyncio.timeout(120):
        while health.faults.get("outbox", "") != text:
            await asyncio.sleep(0.02)


async def until_gauges(rows: float, older_than: float = 0) -> None:
    async with asyncio.timeout(120):
        while gauge("rows") != rows or gauge("oldest_seconds") <= older_than:
            await asyncio.sleep(0.02)


def gauge(name: str) -> float:
    return REGISTRY.get_sample_value(f"vapteke_outbox_{name}") or 0.0


async def until_waiting(pool: asyncpg.Pool, rows: int) -> None:
    async with asyncio.timeout(120):
        while await pool.fetchval("SELECT count(*) FROM outbox") != rows:
            await asyncio.sleep(0.02)
