"""The relay sends the outbox to Kafka, in order, one relay at a time (docs/design.md, "The outbox")."""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer, errors
from prometheus_client import Counter, Gauge
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.messaging.batch_producer import BatchProducer
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.process import logs, loops
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import KafkaSettings
from vapteke_shared.process.shutdown import pause
from vapteke_shared.process.wake_ups import WakeUp

from customers_api import leader
from customers_api.outbox.oldest_rows import OldestRows

_PARTITION_BYTES = 1_000_000  # fits a broker's default of 1 MiB even if it cannot be compressed
_KAFKA_SECONDS = 10  # aiokafka itself would retry for ever
_TRANSACTION_MS = 30_000
_MISSING_SECONDS, _REFUSED_SECONDS = 2, 30
_MEASURED_SHARE = 0.02
_MEASURE_SECONDS = 10
_REFUSALS = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.CorruptRecordException,
    errors.InvalidTopicError,
    errors.PolicyViolationError,
    errors.TopicAuthorizationFailedError,
)

log = logs.get(__name__)
rows_waiting = Gauge("vapteke_outbox_rows", "Rows of the outbox that wait for the relay")
oldest_waits = Gauge("vapteke_outbox_oldest_seconds", "Age of the oldest row in the outbox")
sent = Counter("vapteke_outbox_sent", "Rows of the outbox that were sent")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TopicsRejectRecords(Exception):
    """Some topics reject the records sent to them, so nothing of the batch was committed, for other topics either.

    `reasons` has the name of Kafka's error by topic.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(str(reasons))
        self.reasons = reasons


class Held(NamedTuple):
    """Why the rows of a topic wait, and until what time of the monotonic clock."""

    reason: str
    until: float


class Relay:
    """Sends the outbox in Kafka transactions, the lowest ids first, in the one process that leads.

    `run` is a loop of the process `work`. After a commit, call `wake_up.call`, so that the rows are sent at once and
    not only after `poll_seconds`. An outage or an error is reported in the health as a fault of `outbox`.

    The relay starts a producer, and then reads on the connection that holds the lock. Starting a producer fences
    earlier ones: a relay that has lost the lock but still runs cannot commit the rows that it has read. A batch whose
    commit is in doubt is sent again, and consumers recognise events that they have seen. A topic that is missing or
    rejects its records is held: its rows wait for some seconds, and the rows of other topics are still sent.
    """

    poll_seconds = 0.2

    def __init__(self, settings: KafkaSettings, pool: asyncpg.Pool, health: Health) -> None:
        self._settings, self._pool, self._health = settings, pool, health
        self._held: dict[str, Held] = {}
        self._known: set[str] = set()
        self.wake_up = WakeUp()

    async def run(self, stopping: asyncio.Event) -> None:
        await leader.lead(self._pool, self._health, "outbox", self._lead, stopping)

    async def _lead(self, connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        self._known.clear()
        producer = create_producer(self._settings)
        try:
            async with asyncio.timeout(_KAFKA_SECONDS):
                await kafka_clients.start(producer, self._settings)
            oldest_rows = OldestRows(connection)
            while not stopping.is_set():
                more_may_wait = await self._send_batch(oldest_rows, producer)
                self._report_held()
                loops.beat()  # with a long backlog the loop never pauses, and only `pause` reports a heartbeat
                if not more_may_wait:
                    await self.wake_up.pause(stopping, self.poll_seconds)
        finally:
            await kafka_clients.stop_producer(producer, seconds=1)  # nothing in flight should still arrive

    async def _send_batch(self, oldest_rows: OldestRows, producer: AIOKafkaProducer) -> bool:
        """Send one batch, delete its rows from the outbox, and return whether the batch was cut and more may wait.

        Returns False and sends nothing if no row waits, or if a topic is missing, which is then held. No Postgres
        transaction is open during the wait for Kafka. Raises TopicsRejectRecords, after the topics have been held, and
        the other errors of `publish`.
        """
        rows = await oldest_rows.read(self._holding())
        if not rows or await self._hold_missing({row["topic"] for row in rows}):
            return False
        try:
            await publish(producer, rows)
        except TopicsRejectRecords as error:
            self._hold(error.reasons, _REFUSED_SECONDS)
            raise
        await oldest_rows.delete(rows)
        sent.inc(len(rows))
        return oldest_rows.more_may_wait

    async def _hold_missing(self, topics: set[str]) -> bool:
        """Hold each of these topics that Kafka does not have, and return whether there is one.

        A topic that exists is not checked again while this process leads.
        """
        if topics <= self._known:
            return False
        missing = await kafka_clients.missing_topics(self._settings, topics)
        self._known |= topics - missing
        self._hold(dict.fromkeys(missing, "is missing; `vapteke-topics` creates it"), _MISSING_SECONDS)
        return bool(missing)

    def _hold(self, reasons: Mapping[str, str], seconds: float) -> None:
        for topic, reason in reasons.items():
            self._held[topic] = Held(reason, time.monotonic() + seconds)
            log.warning("outbox topic held", topic=topic, reason=reason)

    def _holding(self) -> list[str]:
        return [topic for topic, held in self._held.items() if held.until > time.monotonic()]

    def _report_held(self) -> None:
        holding = self._holding()
        if holding:
            self._health.report_fault("outbox", "; ".join(f"{topic}: {self._held[topic].reason}" for topic in holding))
        else:
            self._health.report_ready("outbox")


def create_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """A producer for the relay. The caller starts it and stops it, with the functions of `kafka_clients`.

    The start fences an earlier producer and aborts that one's transaction.
    """
    return AIOKafkaProducer(
        **kafka_clients.client_options(settings),
        transactional_id="customers-api-outbox",
        transaction_timeout_ms=_TRANSACTION_MS,
        compression_type="zstd",
        max_batch_size=_PARTITION_BYTES,
    )


async def publish(producer: AIOKafkaProducer, rows: Iterable[asyncpg.Record]) -> None:
    """Send rows in one transaction, in order per key. Raises TopicsRejectRecords, KafkaError, TimeoutError.

    After KafkaError and TimeoutError it is unknown whether the rows were sent. After every error, start another
    producer: the failed transaction stays open, because aborting it would wait for Kafka, and the start of the next
    producer aborts it.
    """
    batches = BatchProducer(producer, _KAFKA_SECONDS)
    async with asyncio.timeout(_KAFKA_SECONDS):
        await producer.begin_transaction()
        for topic, its_rows in groupby(rows, itemgetter("topic")):
            await batches.add_all(topic, ((row["key"].encode(), row["value"], _headers(row)) for row in its_rows))
        try:
            await batches.acknowledged()
        except _REFUSALS:
            raise TopicsRejectRecords(batches.rejected()) from None
        await producer.commit_transaction()


def _headers(row: asyncpg.Record) -> list[tuple[str, bytes]]:
    return [(name, str(content).encode()) for name, content in _decode(row["headers"]).items()]


async def measure(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
    """Keep the gauges of the outbox current until `stopping` is set, even while Kafka is down or another process leads.

    The gauges are NaN while Postgres is down, and until `migrate` has created the schema. Any other error is raised.
    Counting takes at most a fiftieth of the time, so a backlog of millions is counted less often.
    """
    while not stopping.is_set():
        started = time.monotonic()
        try:
            async with pool.acquire(timeout=_MEASURE_SECONDS) as connection:
                count, age = await connection.fetchrow(_WAITING, timeout=_MEASURE_SECONDS)
        except Exception as error:
            reraise_cancellation()
            if not isinstance(error, asyncpg.UndefinedTableError):  # no schema yet: `postgres` in the health says so
                raise_unless_outage(error)
            count, age = math.nan, math.nan
        rows_waiting.set(count)
        oldest_waits.set(age)
        await pause(stopping, max(1, (time.monotonic() - started) / _MEASURED_SHARE))


_WAITING = """
SELECT count(*), greatest(0, extract(epoch FROM now() - (SELECT created_at FROM outbox ORDER BY id LIMIT 1)))::float
FROM outbox
"""
