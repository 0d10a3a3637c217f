"""The consumer of legacy customers over a real Kafka: records were removed, batches are applied in parts."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from customers_api.app import reset_offsets
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from legacy_events import Attempt, counts, end_import, start_import
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process.health import Health

LEGACY = topics.LEGACY_CUSTOMERS.name
PARTITIONS = range(topics.LEGACY_CUSTOMERS.partitions)


@pytest.fixture
async def with_kafka(settings: WorkSettings, kafka_server: Kafka) -> WorkSettings:
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    return settings.model_copy(update={"kafka_bootstrap_servers": kafka_server.bootstrap})


@pytest.fixture
async def producer(with_kafka: WorkSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Its transactions leave markers behind, which no reader sees."""
    servers = with_kafka.kafka_bootstrap_servers
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id="test.going-back") as producer:
        yield producer


async def send(producer: AIOKafkaProducer, read: Sequence[LegacyCustomerRead]) -> None:
    async with producer.transaction():
        for event in read:
            headers = codec.headers(event, "test", str(event.legacy_id))
            partition = event.legacy_id % len(PARTITIONS)
            await producer.send(LEGACY, codec.encode(event), headers=headers, partition=partition)


async def test_whoever_waits_for_a_batch_is_called_once_it_is_applied(
    with_kafka: WorkSettings, pool: asyncpg.Pool, producer: AIOKafkaProducer
) -> None:
    attempt = Attempt(await start_import(pool))
    consumer, called, stopping = ImportConsumers(with_kafka, pool, Health()).legacy, asyncio.Event(), asyncio.Event()
    consumer.after_batch = [called.set]
    await send(producer, [attempt.read(1, "79025160001")])

    running = asyncio.create_task(consumer.run(stopping))

    async with asyncio.timeout(60):
        while await counts(pool) != {"created": 1}:
            await asyncio.sleep(0.05)
        await called.wait()
    stopping.set()
    await asyncio.wait_for(running, 30)


async def remove_half(
    settings: WorkSettings, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> None:
    """Of what was sent since, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_records({tp: RecordsToDelete((begins[tp] + end) // 2) for tp, end in ends.items()})
    await admin.close()


async def test_after_a_reset_amid_removed_records_every_partition_is_applied(
    with_kafka: WorkSettings, pool: asyncpg.Pool, producer: AIOKafkaProducer
) -> None:
    import_id = await start_import(pool)
    old = [Attempt(import_id).read(row, f"7902516{row:04}") for row in range(80)]
    everywhere = [TopicPartition(LEGACY, number) for number in PARTITIONS]
    async with AIOKafkaConsumer(bootstrap_servers=with_kafka.kafka_bootstrap_servers) as consumer:
        begins = await consumer.end_offsets(everywhere)
        await send(producer, old)
        await remove_half(with_kafka, begins, await consumer.end_offsets(everywhere))
    async with pool.acquire() as connection, connection.transaction():
        await reset_offsets(connection)
    await end_import(pool)
    attempt = Attempt(await start_import(pool))
    for _ in range(3):  # a row that comes again cuts the batch into parts
        await send(producer, [attempt.read(row, f"7902516{row:04}") for row in range(80)])

    health, stopping = Health(), asyncio.Event()
    running = asyncio.create_task(ImportConsumers(with_kafka, pool, health).legacy.run(stopping))
    async with asyncio.timeout(60):
        while sum((await counts(pool)).values()) < 240:
            await asyncio.sleep(0.1)
    stopping.set()
    await asyncio.wait_for(running, 30)

    assert await counts(pool) == {"created": 240}
    assert health.restart_reasons == {}
