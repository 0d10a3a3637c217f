"""Reads the customers topic as another team would: from the start, committed records only."""

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import CustomerEvent

from vapteke_local.servers.kafka import client_options


class TopicContent(NamedTuple):
    events: int
    active_customers: int
    """Customers whose newest event does not say that they are deleted."""


async def read_all(variables: Mapping[str, str]) -> TopicContent:
    """Reads all records that are in the topic now, and counts the records and the active customers.

    `variables` are the KAFKA_… variables with which a service connects. Raises KafkaError if Kafka cannot be reached.
    """
    partitions = [TopicPartition(topics.CUSTOMERS.name, number) for number in range(topics.CUSTOMERS.partitions)]
    consumer = AIOKafkaConsumer(
        **client_options(variables),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        return await _read(consumer, await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> TopicContent:
    count, newest = 0, dict[int, CustomerEvent]()
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            count += len(records)
            for event in (codec.decode(record.value, record.headers) for record in records):
                if isinstance(event, CustomerEvent) and _is_newer(event, newest.get(event.id)):
                    newest[event.id] = event
    return TopicContent(count, sum(event.deleted_at is None for event in newest.values()))


def _is_newer(event: CustomerEvent, known: CustomerEvent | None) -> bool:
    return known is None or event.version > known.version
