"""The customers' topic as another team would follow it: from the start, committed records only."""

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import CustomerEvent

from vapteke_local.kafka import client_options


class Followed(NamedTuple):
    events: int
    living: int
    """The customers that are not deleted, by the newest event of each."""


async def follow(variables: Mapping[str, str]) -> Followed:
    """All that the topic holds now, of the Kafka that a service finds by these variables."""
    places = [TopicPartition(topics.CUSTOMERS.name, number) for number in range(topics.CUSTOMERS.partitions)]
    consumer = AIOKafkaConsumer(
        **client_options(variables),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        consumer.assign(places)
        return await _read(consumer, await consumer.end_offsets(places))
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> Followed:
    count, newest = 0, dict[int, CustomerEvent]()
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            count += len(records)
            for event in (codec.decode(record.value, record.headers) for record in records):
                if isinstance(event, CustomerEvent) and _is_newer(event, newest.get(event.id)):
                    newest[event.id] = event
    return Followed(count, sum(event.deleted_at is None for event in newest.values()))


def _is_newer(event: CustomerEvent, known: CustomerEvent | None) -> bool:
    return known is None or event.version > known.version
