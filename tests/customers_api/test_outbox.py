"""The relay: in order, in transactions, one at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from customers_api import outbox
from customers_api.outbox import Message
from customers_api.relay import Relay
from customers_api.settings import WorkSettings
from vapteke_local.kafka import Kafka
from vapteke_shared import topics
from vapteke_shared.health import Health
from vapteke_shared.topics import TopicsSettings

TOPIC = topics.CUSTOMERS.name


@pytest.fixture
async def with_kafka(settings: WorkSettings, kafka_server: Kafka) -> WorkSettings:
    await topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    return settings.model_copy(update={"kafka_bootstrap_servers": kafka_server.bootstrap})


@pytest.fixture
async def reader(with_kafka: WorkSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """Reads what is sent from now on."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=with_kafka.kafka_bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    await consumer.seek_to_end()
    yield consumer
    await consumer.stop()


async def say(pool: asyncpg.Pool, *keys: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        messages = [Message(key, {"ce_type": "test"}, str(place).encode()) for place, key in enumerate(keys)]
        await outbox.add(connection, TOPIC, messages)


async def empty(pool: asyncpg.Pool) -> None:
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM outbox"):
            await asyncio.sleep(0.05)


class Running:
    """Relays that run until the block ends."""

    def __init__(self, *relays: Relay) -> None:
        self._stopping = asyncio.Event()
        self._relays = relays

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(relay.run(self._stopping)) for relay in self._relays]

    async def __aexit__(self, *_: Any) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)


async def test_messages_are_sent_in_order_and_then_gone(
    with_kafka: WorkSettings, pool: asyncpg.Pool, reader: AIOKafkaConsumer
) -> None:
    keys = [f"order-{number % 7}" for number in range(5_000)]
    await say(pool, *keys)

    async with Running(Relay(with_kafka, pool, Health()), Relay(with_kafka, pool, Health())):
        await empty(pool)

    async with asyncio.timeout(30):
        read = [await reader.getone() for _ in keys]
    by_key: dict[bytes, list[int]] = {}
    for record in read:
        by_key.setdefault(record.key, []).append(int(record.value))
    assert all(places == sorted(places) for places in by_key.values())
    assert sorted(place for places in by_key.values() for place in places) == list(range(5_000))
    assert dict(read[0].headers) == {"ce_type": b"test"}


async def test_a_second_relay_takes_over(with_kafka: WorkSettings, pool: asyncpg.Pool) -> None:
    async with Running(Relay(with_kafka, pool, Health())):
        await say(pool, "takeover")
        await empty(pool)

    async with Running(Relay(with_kafka, pool, Health())):
        await say(pool, "takeover")
        await empty(pool)


async def test_without_kafka_the_messages_wait_and_the_health_says_so(
    settings: WorkSettings, pool: asyncpg.Pool
) -> None:
    health = Health("outbox")
    await say(pool, "waiting")

    async with Running(Relay(settings, pool, health)):
        async with asyncio.timeout(30):
            while "waits: " not in health.faults.get("outbox", ""):
                await asyncio.sleep(0.05)

    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1
