"""A FastStream subscriber whose place in Kafka is kept with its effect (facts of FastStream, design section 6).

`apply` is given raw records and does everything in one Postgres transaction, the places included. It resolves bad
data by itself; whatever it raises is an outage: the batch waits here and is tried again, nothing is skipped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from prometheus_client import Gauge

from vapteke_shared import kafka, logs, offsets
from vapteke_shared.health import Health
from vapteke_shared.offsets import Partition
from vapteke_shared.processes import pause
from vapteke_shared.settings import KafkaSettings

Records = Sequence[ConsumerRecord]
Apply = Callable[[Records, str, Mapping[Partition, int]], Awaitable[None]]

_CHECK_SECONDS = 5
_MAX_BACKOFF_SECONDS = 10

log = logs.get(__name__)
lag = Gauge("vapteke_consumer_lag_records", "Records that wait in a partition", ["topic", "partition"])


def create_broker(settings: KafkaSettings) -> KafkaBroker:
    return KafkaBroker(
        **kafka.client_options(settings),
        enable_idempotence=True,
        acks="all",
        compression_type="zstd",
        max_request_size=2 * 1024 * 1024,
        allow_auto_create_topics=False,
        apply_types=False,
        logger=None,
        graceful_timeout=20,
    )


class BatchConsumer:
    """Consumes one topic in batches; `run` beside the others of the process.

    Safe to repeat: a batch that was applied before is recognised by the stored offsets.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        pool: asyncpg.Pool,
        health: Health,
        topic: str,
        group: str,
        apply: Apply,
        *,
        reset_command: str,
        max_records: int,
        fetch_min_bytes: int = 1,
        topics: Sequence[str] = (),
    ) -> None:
        self._settings, self._pool, self._health, self._apply = settings, pool, health, apply
        self._topic, self._topics, self._reset_command = topic, {topic, *topics}, reset_command
        self._stopping = asyncio.Event()
        self._cluster_id = ""
        self._refused: str | None = None
        self._gaps: dict[Partition, int] = {}
        self.broker = create_broker(settings)
        self._subscriber = self.broker.subscriber(
            topic,
            group_id=group,
            group_instance_id=settings.kafka_group_instance_id,
            batch=True,
            batch_timeout_ms=200,
            max_records=max_records,
            fetch_min_bytes=fetch_min_bytes,
            max_partition_fetch_bytes=4 * 1024 * 1024,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=self._decode,
            listener=_SeekToStored(self),
        )
        self._subscriber(self._handle)

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping`; with Kafka or the topics away, say so and try again."""
        self._stopping = stopping
        while not stopping.is_set():
            try:
                self._cluster_id = await kafka.cluster_id(self._settings, self._topics)
                await self.broker.start()
            except (KafkaError, kafka.TopicsMissing, OSError) as error:
                self._health.ill(self._topic, f"Kafka: {_named(error)}")
                log.warning("waiting for Kafka", topic=self._topic, error=_named(error))
                await pause(stopping, 1)
                continue
            await self._watch(stopping)
        await self._stop()

    async def _stop(self) -> None:
        try:
            await asyncio.wait_for(self.broker.stop(), 20)
        except (TimeoutError, KafkaError):
            log.warning("Kafka did not answer at the stop", topic=self._topic)

    async def _watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self._check()
            except Exception as error:
                self._health.ill(self._topic, _named(error))
                log.warning("cannot check the places", topic=self._topic, error=_named(error))
            await pause(stopping, _CHECK_SECONDS)

    async def _check(self) -> None:
        """Compare Kafka's ends with the stored offsets: the lag, or the sign that this is not the Kafka we knew."""
        partitions = self.consumer.assignment()
        async with asyncio.timeout(_CHECK_SECONDS):
            ends = await self.consumer.end_offsets(partitions) if partitions else {}
        places = await self._stored(partitions)
        for tp, end in ends.items():
            lag.labels(tp.topic, tp.partition).set(end - places.get(Partition(*tp), 0))
        behind = [tp for tp, end in ends.items() if end < places.get(Partition(*tp), 0)]
        self._refuse("a topic ends below the stored offset" if behind else None)

    def _refuse(self, why: str | None) -> None:
        self._refused = why
        if why is None:
            self._health.well(self._topic)
            return
        text = f"{why}: Kafka was replaced or its topics made anew; `{self._reset_command}` starts from the beginning"
        self._health.ill(self._topic, text)
        log.error(text, topic=self._topic)

    async def _stored(self, partitions: Sequence[TopicPartition]) -> dict[Partition, int]:
        async with self._pool.acquire() as connection:
            return await offsets.stored(connection, [Partition(*tp) for tp in partitions])

    @property
    def consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        assert consumer is not None, "the broker is started"
        return consumer

    async def _parse(self, records: Any) -> KafkaMessage:
        """Take the records as they are: FastStream's own parser decodes headers and raises on rubbish."""
        return KafkaMessage(body=b"", raw_message=records, consumer=self.consumer)

    async def _decode(self, message: KafkaMessage) -> Records:
        return message.raw_message

    async def _handle(self, records: Any) -> None:
        """Never raises: FastStream would go on after the batch."""
        seconds = 0.25
        while not self._stopping.is_set():
            try:
                if self._refused is None:
                    await self._done(records)
                    return
            except offsets.Ahead as ahead:
                self._seek(ahead.stored)
                return
            except offsets.KafkaReplaced as error:
                self._refuse(str(error))
            except Exception as error:
                self._health.ill(self._topic, _named(error))
                log.warning("the batch waits", topic=self._topic, records=len(records), error=_named(error))
            await pause(self._stopping, seconds)
            seconds = min(seconds * 2, _MAX_BACKOFF_SECONDS)

    async def _done(self, records: Records) -> None:
        await self._apply(records, self._cluster_id, self._gaps)
        self._gaps.clear()
        self._health.well(self._topic)
        try:
            await self.consumer.commit()  # for the eyes of Kafka's tools only
        except KafkaError as error:
            log.info("the group's offset was not committed", topic=self._topic, error=_named(error))

    def _seek(self, stored: Mapping[Partition, int]) -> None:
        for partition, offset in stored.items():
            log.warning("reading again from the stored offset", partition=partition.partition, offset=offset)
            self._gaps[partition] = offset
            try:
                self.consumer.seek(TopicPartition(*partition), offset)
            except IllegalStateError:  # the partition has gone to another replica
                continue


class _SeekToStored(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: BatchConsumer) -> None:
        self._owner = owner

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Nothing: a batch in hand may finish, its transaction decides."""

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        try:
            places = await self._owner._stored(list(assigned))
        except Exception as error:  # the batch itself looks again
            log.warning("cannot read the places", error=_named(error))
            return
        for partition, offset in places.items():
            self._owner.consumer.seek(TopicPartition(*partition), offset)


def _named(error: Exception) -> str:
    """The error without its text where that may hold values."""
    if isinstance(error, kafka.TopicsMissing):
        return str(error)
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} ({state})" if state else type(error).__name__
