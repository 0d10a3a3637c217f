"""A FastStream subscriber whose offset is stored with its effect (docs/design.md, "Stored offsets").

`apply` is given raw records and does everything in one Postgres transaction, the places included. It resolves bad
data by itself; whatever it raises is an outage: the batch waits here and is tried again, nothing is skipped.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from prometheus_client import Gauge

from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.consumers import CHECK_TIMEOUT_SECONDS, Consumer
from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.messaging.read_positions import Reading
from vapteke_shared.postgres.outages import is_outage
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.connections import told
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ConsumerSettings
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, pause, shutdown_deadline

Records = Sequence[ConsumerRecord]
Apply = Callable[[Records, Cluster, MutableMapping[Partition, int]], Awaitable[None]]

_MAX_BACKOFF_SECONDS = 10
_OUTAGE_SECONDS = 1  # between attempts while Postgres is away: whoever waits for rows should not wait for us as well
_POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = logs.get(__name__)
lag = Gauge("vapteke_consumer_lag_records", "Records that wait in a partition", ["topic", "partition"])


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
        except stored_offsets.KafkaReplaced as error:
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
        async with self._pool.acquire(timeout=CHECK_TIMEOUT_SECONDS) as connection:
            return await stored_offsets.stored(connection, [Partition(*each) for each in partitions], self._cluster)

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
            except stored_offsets.KafkaReplaced as error:
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
        except stored_offsets.Ahead:
            await self._go_back(records)
            return
        for partition, count in missing.items():
            log.warning("a gap is accepted", topic=self._topic, partition=partition.partition, missing=count)
        self._health.well(self._batches)
        try:
            async with shutdown_deadline(self._stopping, 1):
                await self._consumer.commit()  # for the eyes of Kafka's tools only
        except (KafkaError, ShutdownDeadlineExceeded) as error:
            log.info("the group's offset was not committed", topic=self._topic, error=told(error))

    async def _go_back(self, records: Records) -> None:
        """Every partition of the batch is read again from its stored offset: parts of the batch may have been applied,
        and of the others none."""
        begins = stored_offsets.first(records)
        places = await self._stored(begins)
        for partition in begins:
            offset = places.get(partition, 0)
            log.warning("reading again from the stored offset", partition=partition.partition, offset=offset)
            try:
                self._consumer.seek(TopicPartition(*partition), offset)
            except IllegalStateError:  # the partition has gone to another replica
                continue
            self._reading.go_back(partition, offset)

    def _side_of(self, error: Exception) -> str:
        return "Postgres" if isinstance(error, _POSTGRES_ERRORS) else super()._side_of(error)


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
