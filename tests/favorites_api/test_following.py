"""The consumer of the customers' topic on a real Kafka: at which offset it starts to read."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from favorites_api.consumer import CustomersConsumer
from favorites_api.tables import SCHEMA
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.messaging import create_topics, stored_offsets
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import WorkSettings

NOBODY = "SELECT NOT EXISTS (SELECT FROM deleted_customers)"


@pytest.fixture
async def with_kafka(settings: WorkSettings, kafka_server: Kafka) -> WorkSettings:
    """Somebody is deleted, in a topic that the group has read to its end."""
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    producer = AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap)
    await producer.start()
    await producer.send_and_wait(topics.CUSTOMERS.name, deletion(2), key=b"7")
    await producer.stop()
    return settings.model_copy(update={"kafka_bootstrap_servers": kafka_server.bootstrap})


@asynccontextmanager
async def following(settings: WorkSettings) -> AsyncIterator[tuple[asyncpg.Pool, Health]]:
    health, stopping = Health(), asyncio.Event()
    async with pools.create_pool(settings, SCHEMA, 2) as pool:
        running = asyncio.create_task(CustomersConsumer(settings, pool, health).run(stopping))
        try:
            yield pool, health
        finally:
            stopping.set()
            await asyncio.wait_for(running, 120)


async def hidden(pool: asyncpg.Pool) -> None:
    async with asyncio.timeout(120):
        while await pool.fetchval(NOBODY):
            await asyncio.sleep(0.05)


async def test_without_places_it_reads_from_the_beginning_wherever_the_groups_offset_is(
    with_kafka: WorkSettings,
) -> None:
    async with following(with_kafka) as (pool, _):
        await hidden(pool)
    async with pools.create_pool(with_kafka, SCHEMA, 1) as pool:
        await pool.execute("DELETE FROM consumed_offsets")
        await pool.execute("DELETE FROM deleted_customers")

    async with following(with_kafka) as (pool, _):
        await hidden(pool)


async def test_places_that_are_set_back_are_read_again_at_once(with_kafka: WorkSettings) -> None:
    async with following(with_kafka) as (pool, _):
        await hidden(pool)

        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("DELETE FROM deleted_customers")
            await stored_offsets.reset(connection)

        await hidden(pool)


async def test_the_markers_of_transactions_are_no_gaps_and_no_lag(with_kafka: WorkSettings) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=with_kafka.kafka_bootstrap_servers, transactional_id="somebody")
    await producer.start()
    async with following(with_kafka) as (pool, _):
        await hidden(pool)
        with capture_logs() as logs:
            for version in range(3, 8):
                async with producer.transaction():
                    await producer.send(topics.CUSTOMERS.name, deletion(version), key=b"7")
                async with asyncio.timeout(120):
                    while await pool.fetchval("SELECT version FROM deleted_customers WHERE customer_id = 7") != version:
                        await asyncio.sleep(0.01)
            async with asyncio.timeout(120):
                while lag() != 0:
                    await asyncio.sleep(0.1)
    await producer.stop()

    # other tests have left other things in the topic
    assert {each["event"] for each in logs} & {"reading again from the stored offset", "a gap is accepted"} == set()


def deletion(version: int) -> bytes:
    return b'{"id": 7, "version": %d, "deleted_at": "2026-01-02T03:04:05Z", "changed": ["deleted_at"]}' % version


def lag() -> float:
    """Records that wait, in all partitions; endless before the first look."""
    labels = [{"topic": topics.CUSTOMERS.name, "partition": str(number)} for number in range(8)]
    each = [REGISTRY.get_sample_value("vapteke_consumer_lag_records", label) for label in labels]
    return sum(math.inf if value is None else value for value in each)


async def test_places_that_could_not_be_read_at_first_are_sought_later(
    with_kafka: WorkSettings, pool: asyncpg.Pool, owner: asyncpg.Connection
) -> None:
    async with following(with_kafka) as (pool, _):
        await hidden(pool)
    await owner.execute("TRUNCATE favorites.deleted_customers, favorites.consumed_offsets")
    await owner.execute("ALTER TABLE favorites.consumed_offsets RENAME TO away")

    async with following(with_kafka) as (pool, health):
        async with asyncio.timeout(120):
            while topics.CUSTOMERS.name not in health.faults:
                await asyncio.sleep(0.05)
        assert health.faults[topics.CUSTOMERS.name] == "Postgres: UndefinedTableError (42P01)"
        assert await pool.fetchval(NOBODY)
        await owner.execute("ALTER TABLE favorites.away RENAME TO consumed_offsets")

        await hidden(pool)


@pytest.fixture
async def owner(postgres_server: Postgres, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_server.dsn_of(database_name))
    yield connection
    await connection.close()
