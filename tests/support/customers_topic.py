"""The topic of customers, read as another team would, and compacted as Kafka does in time."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import CustomerEvent

TOPIC = topics.CUSTOMERS.name
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(topics.CUSTOMERS.partitions)]
STATE = tuple(name for name in CustomerEvent.__struct_fields__ if name not in ("origin", "changed"))

Isolation = Literal["read_committed", "read_uncommitted"]
State = dict[str, Any]


class PublishedEvent(NamedTuple):
    """A record: `seal` tells whether two are identical, headers included."""

    key: str
    subject: str
    event: CustomerEvent
    seal: int


async def read(
    bootstrap: list[str],
    isolation: Isolation = "read_committed",
    since: Mapping[TopicPartition, int] | None = None,
) -> list[PublishedEvent]:
    """What is in the topic now, each partition in its order; with `since`, a result of `end`, only what came later."""
    published = []
    async with _reader(bootstrap, isolation) as consumer:
        for place, offset in (since or {}).items():
            consumer.seek(place, offset)
        ends = await consumer.end_offsets(PARTITIONS)
        while await _behind(consumer, ends):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                published += [_published(record) for record in records]
    return published


async def end(bootstrap: list[str]) -> dict[TopicPartition, int]:
    """How far the topic reaches now."""
    async with _reader(bootstrap, "read_committed") as consumer:
        return await ends(consumer)


@asynccontextmanager
async def following(bootstrap: list[str]) -> AsyncIterator[AIOKafkaConsumer]:
    """For `event_of`: begins with what comes next."""
    async with _reader(bootstrap, "read_committed") as consumer:
        for place, offset in (await ends(consumer)).items():
            consumer.seek(place, offset)
        yield consumer


async def event_of(consumer: AIOKafkaConsumer, customer_id: int) -> CustomerEvent:
    """The next event of this customer. Those of others are passed over. Waits without a deadline."""
    while True:
        published = _published(await consumer.getone())
        if published.event.id == customer_id:
            return published.event


async def _behind(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    return any([await consumer.position(place) < end for place, end in ends.items()])


@asynccontextmanager
async def _reader(bootstrap: list[str], isolation: Isolation) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        consumer.assign(PARTITIONS)
        yield consumer
    finally:
        await consumer.stop()


def _published(record: Any) -> PublishedEvent:
    event = codec.decode(record.value, record.headers)
    assert isinstance(event, CustomerEvent)
    subject = dict(record.headers)["ce_subject"].decode()
    return PublishedEvent(record.key.decode(), subject, event, hash((record.value, record.headers)))


def rebuilt(published: Iterable[PublishedEvent]) -> dict[int, State]:
    """The customers, by one who drops what is not newer than what he has."""
    newest: dict[int, CustomerEvent] = {}
    for _, _, event, _ in published:
        if event.id not in newest or event.version > newest[event.id].version:
            newest[event.id] = event
    return {customer_id: state(event) for customer_id, event in newest.items()}


async def held(connection: asyncpg.Connection) -> dict[int, State]:
    """The customers in Postgres, the deleted ones too; instants to the millisecond, as events tell them."""
    rows = await connection.fetch(_HELD)
    return {row["id"]: {name: in_milliseconds(row[name]) for name in STATE} for row in rows}


def in_milliseconds(value: Any) -> Any:
    """The value; an instant as an event tells it."""
    if not isinstance(value, datetime):
        return value
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


_HELD = """
SELECT c.*, p.digits AS phone, f.name AS firstname
FROM customers c LEFT JOIN phones p ON p.id = c.phone_id LEFT JOIN firstnames f ON f.id = c.firstname_id
"""


def unlike(published: dict[int, State], kept: dict[int, State]) -> list[tuple[State | None, State | None]]:
    """Customers that are not the same: as the events tell them, as Postgres holds them."""
    return [
        (published.get(each), kept.get(each))
        for each in published.keys() | kept.keys()
        if published.get(each) != kept.get(each)
    ]


def state(event: CustomerEvent) -> State:
    return {name: getattr(event, name) for name in STATE}


def shown(event: CustomerEvent) -> State:
    """The fields as the REST service shows them."""
    fields: State = msgspec.to_builtins(state(event))
    return {**fields, "last_auth_at": _in_milliseconds(event.last_auth_at)}


def _in_milliseconds(at: datetime | None) -> str | None:
    return at and f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def first_of_each_version(published: Iterable[PublishedEvent]) -> dict[tuple[int, int], PublishedEvent]:
    """By customer and version, the first record of each."""
    first: dict[tuple[int, int], PublishedEvent] = {}
    for each in published:
        first.setdefault((each.event.id, each.event.version), each)
    return first


@asynccontextmanager
async def watched(bootstrap: list[str]) -> AsyncIterator[AIOKafkaConsumer]:
    """For `ends`: what is in the topic, sent or being sent."""
    async with _reader(bootstrap, "read_uncommitted") as consumer:
        yield consumer


async def ends(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    return dict(await consumer.end_offsets(PARTITIONS))


async def compact_soon(bootstrap: list[str]) -> None:
    """Kafka does in a moment what it does in a day: it compacts all but the segment that is written to."""
    small = {"segment.ms": "100", "max.compaction.lag.ms": "100", "min.cleanable.dirty.ratio": "0.001"}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        broker = (await admin.describe_cluster())["brokers"][0]["node_id"]
        answers = await admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, TOPIC, {**topics.CUSTOMERS.config, **small}),
                ConfigResource(ConfigResourceType.BROKER, str(broker), {"log.cleaner.backoff.ms": "100"}),
            ]
        )
    finally:
        await admin.close()
    for code, text, *_ in (each for answer in answers for each in answer.resources):
        if code:
            raise for_code(code)(text)
