"""A FastStream subscriber whose place in Kafka is kept with its effect (facts of FastStream, design section 6).

`apply` is given raw records and does everything in one Postgres transaction, the places included. It resolves bad
data by itself; whatever it raises is an outage: the batch waits here and is tried again, nothing is skipped.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaMessage
from prometheus_client import Gauge

from vapteke_shared import kafka, logs, offsets, unpacking
from vapteke_shared.brokers import create_broker
from vapteke_shared.connections import told
from vapteke_shared.health import Health
from vapteke_shared.offsets import Cluster, Partition
from vapteke_shared.outages import is_outage
from vapteke_shared.processes import CutShort, limited, pause
from vapteke_shared.reading import Reading
from vapteke_shared.settings import ConsumerSettings
from vapteke_shared.tasks import reraise_cancellation

Records = Sequence[ConsumerRecord]
Apply = Callable[[Records, Cluster, MutableMapping[Partition, int]], Awaitable[None]]

_CHECK_TIMEOUT_SECONDS = 30
_MAX_BACKOFF_SECONDS = 10
_OUTAGE_SECONDS = 1  # between attempts while Postgres is away: whoever waits for rows should not wait for us as well
_BATCH_SECONDS = 10  # after the stop, for the batch in hand and for leaving the group

unpacking.install()
log = logs.get(__name__)
lag = Gauge("vapteke_consumer_lag_records", "Records that wait in a partition", ["topic", "partition"])


class Consumer:
    """A broker that is started once Kafka and the topics are there; subclasses add its one subscriber.

    A zombie looks alive and fetches nothing. Records wait in a partition that is its own, none is in hand, Kafka
    answers, and yet its place is the same in `zombie_checks` checks: for five minutes, longer than a rebalance or a
    fetch with all its retries takes. What an open transaction holds back does not count: the end lies before it.
    """

    check_seconds, zombie_checks = 5.0, 60
    _subscriber: Any

    def __init__(self, settings: ConsumerSettings, health: Health, need: str, topics: Collection[str]) -> None:
        self._settings, self._health, self._need, self._topics = settings, health, need, topics
        self._stopping = asyncio.Event()
        self._cluster = Cluster("", {})
        self._in_hand = False
        self._unmoved: dict[tuple[TopicPartition, int], int] = {}  # place where records wait → checks that found it so
        self._broker = create_broker(settings)

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping`; with Kafka or the topics away, say so and try again."""
        self._stopping = stopping
        started = False
        while not stopping.is_set():
            try:
                async with limited(stopping, 0), asyncio.timeout(_CHECK_TIMEOUT_SECONDS):
                    self._cluster = await kafka.cluster(self._settings, self._topics)
                    if not started:
                        await self._broker.start()
                    started = True
                    await self._check()
            except CutShort:
                break
            except Exception as error:
                reraise_cancellation()
                self._unmoved.clear()
                self._health.ill(self._need, told(error, _side(error)))
                await pause(stopping, 1)
            else:
                await pause(stopping, self.check_seconds)
        await self._stop()

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        assert consumer is not None, "the broker is started"
        return consumer

    async def _parse(self, raw: Any) -> KafkaMessage:
        """Take a record or a batch as it is: FastStream's own parser decodes headers and raises on rubbish."""
        return KafkaMessage(body=b"", raw_message=raw, consumer=self._consumer)

    async def _decode(self, message: KafkaMessage) -> Any:
        return message.raw_message

    async def _check(self) -> None:
        """Called every few seconds; what it raises makes the health say so."""
        self._health.well(self._need)
        assigned = self._consumer.assignment()
        ends = await self._consumer.end_offsets(assigned) if assigned else {}
        self._look_stuck(ends, {tp: await self._consumer.position(tp) for tp in ends})

    def _look_stuck(self, ends: Mapping[TopicPartition, int], begins: Mapping[TopicPartition, int]) -> None:
        """Of the partitions assigned to us, as this check has found them: where what waits begins and ends."""
        waiting = [] if self._in_hand else [(tp, begin) for tp, begin in begins.items() if begin < ends[tp]]
        self._unmoved = {place: self._unmoved.get(place, 0) + 1 for place in waiting}
        stuck = sorted(f"{tp.topic}/{tp.partition}" for (tp, _), n in self._unmoved.items() if n > self.zombie_checks)
        fault = f"records wait and are not fetched: {', '.join(stuck)}" if stuck else None
        if self._consumer._coordinator._coordination_task.done():  # aiokafka does not start it again
            fault = "it takes no part in its group any more"
        self._health.stuck(self._need, fault)

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(_BATCH_SECONDS):
                await self._broker.stop()
        except Exception as error:  # the process ends either way
            reraise_cancellation()
            log.warning("Kafka or the batch in hand was left at the stop", need=self._need, error=told(error))


class BatchConsumer(Consumer):
    """Consumes one topic in batches; `run` beside the others of the process.

    Safe to repeat: a batch that was applied before is recognised by the stored offsets. An attempt that has not ended
    after `attempt_seconds` hangs: each of its statements has a minute at most.
    """

    attempt_seconds = 900.0

    def __init__(
        self,
        settings: ConsumerSettings,
        pool: asyncpg.Pool,
        health: Health,
        topic: str,
        group: str,
        apply: Apply,
        *,
        reset_command: str,
        max_records: int,
        fetch_min_bytes: int = 1,
    ) -> None:
        super().__init__(settings, health, topic, [topic])
        self._pool, self._apply, self._topic, self._reset_command = pool, apply, topic, reset_command
        self._batches = f"{topic}: batches"
        self._refused: str | None = "not yet checked"
        self._reading = Reading()
        self._subscriber = self._broker.subscriber(
            topic,
            group_id=group,
            group_instance_id=settings.kafka_group_instance_id,
            batch=True,
            batch_timeout_ms=200,
            max_records=max_records,
            fetch_min_bytes=fetch_min_bytes,
            max_partition_fetch_bytes=256 * 1024,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=self._decode,
            listener=_SeekToStored(self),
        )
        self._subscriber(self._handle)

    async def _check(self) -> None:
        """Compare Kafka's ends with the stored offsets: the lag, or the sign that this is not the Kafka we knew."""
        partitions, settled = self._consumer.assignment(), self._reading.settled
        try:
            places = await self._stored(partitions)
        except offsets.KafkaReplaced as error:
            self._refuse(str(error))
            self._look_stuck({}, {})
            return
        self._reading.compare(settled, places)
        self._seek_due(partitions, places)
        # read after the places: what is applied meanwhile must not look like an end below its place
        ends = await self._consumer.end_offsets(partitions) if partitions else {}
        begins = {tp: await self._first_waiting(tp, places) for tp in ends}
        for tp, end in ends.items():
            lag.labels(tp.topic, tp.partition).set(max(end - begins[tp], 0))
        behind = [tp for tp, end in ends.items() if end < places.get(Partition(*tp), 0)]
        self._refuse("a topic ends below the stored offset" if behind else None)
        self._look_stuck({} if behind else ends, {} if behind else begins)

    async def _first_waiting(self, tp: TopicPartition, places: Mapping[Partition, int]) -> int:
        partition = Partition(*tp)
        return self._reading.first_waiting(partition, places.get(partition, 0), await self._consumer.position(tp))

    def _seek_due(self, assigned: Collection[TopicPartition], places: Mapping[Partition, int]) -> None:
        """Without a place a partition begins at the start, wherever the group's own offset is."""
        for partition in self._reading.due(Partition(*tp) for tp in self._consumer.assignment() & set(assigned)):
            self._consumer.seek(TopicPartition(*partition), places.get(partition, 0))

    def _refuse(self, why: str | None) -> None:
        self._refused = why
        if why is None:
            self._health.well(self._topic)
            return
        text = f"{why}: Kafka was replaced or its topics made anew; `{self._reset_command}` starts from the beginning"
        self._health.ill(self._topic, text)

    async def _stored(self, partitions: Collection[tuple[str, int]]) -> dict[Partition, int]:
        async with self._pool.acquire(timeout=_CHECK_TIMEOUT_SECONDS) as connection:
            return await offsets.stored(connection, [Partition(*each) for each in partitions], self._cluster)

    async def _handle(self, records: Any) -> None:
        """Never raises: FastStream would go on after the batch."""
        self._in_hand = True
        try:
            await self._handle_patiently(records, self._reading.take(records))
        finally:  # one that is cancelled has nothing in hand: what waits then is not fetched
            self._health.expect(self._batches, None)
            self._reading.let_go()
            self._in_hand = False

    async def _handle_patiently(self, records: Records, missing: Mapping[Partition, int]) -> None:
        seconds, most_seconds = 0.25, _MAX_BACKOFF_SECONDS
        while not self._stopping.is_set():
            self._health.expect(self._batches, time.monotonic() + self.attempt_seconds)
            try:
                if self._refused is None:
                    await self._done_or_sought(records, missing)
                    return
            except offsets.KafkaReplaced as error:
                self._refuse(str(error))
            except Exception as error:
                reraise_cancellation()
                most_seconds = _OUTAGE_SECONDS if is_outage(error) else _MAX_BACKOFF_SECONDS
                self._health.ill(self._batches, told(error))
            await pause(self._stopping, seconds)
            seconds = min(seconds * 2, most_seconds)

    async def _done_or_sought(self, records: Records, missing: Mapping[Partition, int]) -> None:
        try:
            await self._apply(records, self._cluster, self._reading.reached)
        except offsets.Ahead:
            await self._go_back(records)
            return
        for partition, count in missing.items():
            log.warning("a gap is accepted", topic=self._topic, partition=partition.partition, missing=count)
        self._health.well(self._batches)
        try:
            async with limited(self._stopping, 1):
                await self._consumer.commit()  # for the eyes of Kafka's tools only
        except (KafkaError, CutShort) as error:
            log.info("the group's offset was not committed", topic=self._topic, error=told(error))

    async def _go_back(self, records: Records) -> None:
        """Every partition of the batch is read again from its stored offset: parts of the batch may have been applied,
        and of the others none."""
        begins = offsets.first(records)
        places = await self._stored(begins)
        for partition in begins:
            offset = places.get(partition, 0)
            log.warning("reading again from the stored offset", partition=partition.partition, offset=offset)
            try:
                self._consumer.seek(TopicPartition(*partition), offset)
            except IllegalStateError:  # the partition has gone to another replica
                continue
            self._reading.go_back(partition, offset)


def _side(error: Exception) -> str:
    """Who has raised it; a time-out may be of either."""
    match error:
        case KafkaError():
            return "Kafka"
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return "Postgres"
    return ""


class _SeekToStored(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: BatchConsumer) -> None:
        self._owner = owner

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """A batch in hand may finish, its transaction decides. What waits in a partition is another's to tell now."""
        for tp in revoked:
            with suppress(KeyError):
                lag.remove(tp.topic, str(tp.partition))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._owner._reading.assign(Partition(*tp) for tp in assigned)
        try:
            self._owner._seek_due(assigned, await self._owner._stored(assigned))
        except Exception as error:  # the next check looks again
            reraise_cancellation()
            log.warning("cannot read the places", error=told(error))
