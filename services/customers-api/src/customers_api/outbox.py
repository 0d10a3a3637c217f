"""The outbox: what a transaction has to say to Kafka is written with its effect, and sent by one relay (design, 6)."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer
from prometheus_client import Counter, Gauge
from vapteke_shared import events, kafka, logs
from vapteke_shared.events import Event
from vapteke_shared.health import Health
from vapteke_shared.processes import pause
from vapteke_shared.settings import KafkaSettings

SOURCE = "customers-api"
_LOCK = "SELECT pg_try_advisory_lock(hashtext('customers.outbox.relay'))"
_BATCH_ROWS = 2_000
_POLL_SECONDS = 0.2

log = logs.get(__name__)
rows_waiting = Gauge("vapteke_outbox_rows", "Rows of the outbox that wait for the relay")
oldest_waits = Gauge("vapteke_outbox_oldest_seconds", "Age of the outbox's oldest row")
sent = Counter("vapteke_outbox_sent", "Rows of the outbox that were sent")


class Message(NamedTuple):
    """What is to be sent: a record of Kafka but for its topic."""

    key: str
    headers: dict[str, str]
    value: bytes


def message(key: str, event: Event) -> Message:
    headers = {name: content.decode() for name, content in events.headers(event, SOURCE, key)}
    return Message(key, headers, events.encode(event))


async def add(connection: asyncpg.Connection, topic: str, messages: Sequence[Message]) -> None:
    """Write messages into the caller's transaction; they are sent in this order once it is committed."""
    headers = [msgspec.json.encode(m.headers).decode() for m in messages]
    await connection.execute(_ADD, topic, [m.key for m in messages], headers, [m.value for m in messages])


class Relay:
    """Sends the outbox, in order, in Kafka transactions; of all processes, the one that holds the advisory lock.

    Its fixed transactional id fences a predecessor that lost the lock and still lives. A batch whose commit is in doubt
    is sent again: consumers recognise what they have seen.
    """

    def __init__(self, settings: KafkaSettings, pool: asyncpg.Pool, health: Health) -> None:
        self._settings, self._pool, self._health = settings, pool, health

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self._lead(stopping)
            except Exception as error:  # an outage, or a bug: nothing is deleted, all is sent again
                self._health.ill("outbox", f"the relay waits: {type(error).__name__}")
                log.warning("the relay waits", error=type(error).__name__)
            await pause(stopping, 1)

    async def _lead(self, stopping: asyncio.Event) -> None:
        async with self._pool.acquire() as connection:
            while not await connection.fetchval(_LOCK):
                self._health.well("outbox")
                await pause(stopping, 1)
                if stopping.is_set():
                    return
            await self._relay(connection, stopping)

    async def _relay(self, connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        producer = AIOKafkaProducer(
            **kafka.client_options(self._settings),
            transactional_id="customers-api-outbox",
            compression_type="zstd",
            linger_ms=5,
        )
        try:
            await asyncio.wait_for(producer.start(), 30)
            while not stopping.is_set():
                count = await self._send_batch(connection, producer)
                self._health.well("outbox")
                if count < _BATCH_ROWS:
                    await pause(stopping, _POLL_SECONDS)
        finally:
            await kafka.stop_producer(producer)

    async def _send_batch(self, connection: asyncpg.Connection, producer: AIOKafkaProducer) -> int:
        rows = await connection.fetch(_NEXT, _BATCH_ROWS)
        if rows:
            async with asyncio.timeout(15):  # aiokafka would try for ever
                await _publish(producer, rows)
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1)", [row["id"] for row in rows])
            sent.inc(len(rows))
        await _measure(connection)
        return len(rows)


async def _publish(producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record]) -> None:
    """What fails is left to the next producer's start, which aborts it: aborting here would wait for Kafka."""
    await producer.begin_transaction()
    acks = [await producer.send(r["topic"], r["value"], r["key"].encode(), headers=_headers(r)) for r in rows]
    await asyncio.gather(*acks)
    await producer.commit_transaction()


def _headers(row: asyncpg.Record) -> list[tuple[str, bytes]]:
    fields: dict[str, Any] = msgspec.json.decode(row["headers"])
    return [(name, str(content).encode()) for name, content in fields.items()]


async def _measure(connection: asyncpg.Connection) -> None:
    count, age = await connection.fetchrow(_WAITING)
    rows_waiting.set(count)
    oldest_waits.set(age)


_ADD = """
INSERT INTO outbox (topic, key, headers, value)
SELECT $1, key, headers, value
FROM unnest($2::text[], $3::jsonb[], $4::bytea[]) WITH ORDINALITY AS m (key, headers, value, place) ORDER BY place
"""
_NEXT = "SELECT id, topic, key, headers, value FROM outbox ORDER BY id LIMIT $1"
_WAITING = "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float FROM outbox"
