"""Batches per partition: every key where each client would put it, in its order, and the offsets exact."""

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.messaging.batch_producer import BatchProducer
from vapteke_shared.messaging.partitions import Partition

COUNT = 5


async def create(server: Kafka, **config: str) -> str:
    name = f"test.batches.{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, COUNT, 1, topic_configs=config)])
    await admin.close()
    return name


@pytest.fixture
async def topic(kafka_server: Kafka) -> str:
    return await create(kafka_server)


@pytest.fixture
async def producer(kafka_server: Kafka) -> AsyncIterator[AIOKafkaProducer]:
    """Its batches are so small that a partition gets several."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_server.bootstrap, enable_idempotence=True, acks="all", max_batch_size=1024
    )
    await producer.start()
    yield producer
    await producer.stop()


async def read(server: Kafka, topic: str, count: int) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=server.bootstrap, auto_offset_reset="earliest")
    try:
        await consumer.start()
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def test_keys_keep_their_order_and_last_offsets_are_returned(
    kafka_server: Kafka, producer: AIOKafkaProducer, topic: str
) -> None:
    batches = BatchProducer(producer, 30)
    for number in range(1000):
        await batches.add(topic, b"key %d" % (number % 10), b"%d" % number, [("name", b"content")])

    last = await batches.acknowledged()

    records = await read(kafka_server, topic, 1000)
    by_key = {b"key %d" % key: [b"%d" % number for number in range(key, 1000, 10)] for key in range(10)}
    assert {key: [r.value for r in records if r.key == key] for key in by_key} == by_key
    assert records[0].headers == (("name", b"content"),)
    ends: dict[Partition, int] = {}
    for record in records:
        ends[Partition(record.topic, record.partition)] = record.offset
    assert last == ends


async def test_a_key_gets_the_partition_of_send(kafka_server: Kafka, producer: AIOKafkaProducer, topic: str) -> None:
    keys = [os.urandom(length) for length in range(1, 60)]
    batches = BatchProducer(producer, 30)
    for key in keys:
        await batches.add(topic, key, b"batches", [])
        await producer.send(topic, b"send", key)

    await batches.acknowledged()

    await producer.flush()
    places: dict[bytes, set[TopicPartition]] = {key: set() for key in keys}
    for record in await read(kafka_server, topic, 2 * len(keys)):
        places[record.key].add(TopicPartition(record.topic, record.partition))
    assert [len(partitions) for partitions in places.values()] == [1] * len(keys)


async def test_a_topic_that_rejects_records_is_named(
    kafka_server: Kafka, producer: AIOKafkaProducer, topic: str
) -> None:
    other = await create(kafka_server, **{"max.message.bytes": "1000"})
    batches = BatchProducer(producer, 30)
    await batches.add(topic, b"key", b"small", [])
    await batches.add(other, b"key", b"x" * 2000, [])

    with pytest.raises(MessageSizeTooLargeError):
        await batches.acknowledged()

    assert batches.rejected() == {other: "MessageSizeTooLargeError"}
