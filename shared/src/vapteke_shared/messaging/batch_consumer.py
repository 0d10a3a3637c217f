"""Consumes one topic in batches and keeps its offsets in Postgres, with the effect of the records.

`apply` gets raw records, and must do everything in transactions of `stored_offsets.transaction`, which also store the
offsets, and must let the errors of this function pass. `apply` must handle bad data itself: after any error the batch
waits, `apply` is called again, and nothing is skipped. Two errors have another result. After AheadOfStoredOffset the
consumer reads again from the stored offsets. After KafkaReplaced it applies nothing until an operator runs
`reset_command`. See docs/design.md, "Stored offsets".
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faststream import AckPolicy
from prometheus_client import Gauge

from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.consumer import CHECK_TIMEOUT_SECONDS, Consumer
from vapteke_shared.messaging.partitions import Cluster, Partition, Reached
from vapteke_shared.messaging.read_positions import ReadPositions
from vapteke_shared.postgres.outages import is_outage
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.connection_errors import describe
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ConsumerSettings
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, pause, shutdown_deadline

Records = Sequence[ConsumerRecord]
Apply = Callable[[Records, Cluster, Reached], Awaitable[None]]

# FastStream sleeps for this time after waiting for records this long in vain, and leaves records lying that come
# meanwhile. So it waits for years; a shutdown ends the wait.
_WAIT_FOR_RECORDS_MS = 10 * 365 * 24 * 3600 * 1000
# Kafka answers a fetch once it has `fetch_min_bytes`, or after this time. The last events of an import wait so long.
_FETCH_WAIT_MS = 250
_MAX_BACKOFF_SECONDS = 10
_OUTAGE_SECONDS = 1  # between attempts during an outage of Postgres, so that work continues soon after it
_POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = logs.get(__name__)
lag = Gauge("vapteke_consumer_lag_records", "Records of a partition that are not applied yet", ["topic", "partition"])


class BatchConsumer(Consumer):
    """Consumes one topic in batches; `run` is one of the loops of its process.

    Kafka may deliver a batch again, and a part of it may have been applied: so `apply` must apply only records that are
    new, as `stored_offsets.transaction` shows. An attempt to apply a batch turns liveness red when it takes longer than
    `attempt_seconds`. Each statement takes at most a minute, so such an attempt must hang.
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
        self._blocked_by: str | None = "not yet checked"
        self._positions = ReadPositions()
        self.after_batch: Sequence[Callable[[], None]] = ()
        """The functions that are called after a batch, or a part of it, has been applied."""
        self._subscriber = self._broker.subscriber(
            topic,
            group_id=group,
            group_instance_id=settings.kafka_group_instance_id,
            batch=True,
            batch_timeout_ms=_WAIT_FOR_RECORDS_MS,
            max_records=max_records,
            fetch_min_bytes=fetch_min_bytes,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=256 * 1024,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=self._decode,
            listener=_AssignmentListener(self._assign),
        )
        self._subscriber(self._handle)

    async def _check(self) -> None:
        """Compare the stored offsets with this Kafka: set the lag, and report whether this consumer is a zombie.

        Partitions that must be read again are sought to their stored offsets. While the stored offsets do not belong to
        this Kafka, or a topic ends below them, the consumer applies nothing and reports a fault.
        """
        partitions, finished = self._consumer.assignment(), self._positions.finished
        try:
            stored = await self._stored(partitions)
        except stored_offsets.KafkaReplaced as error:
            self._block(str(error))
            self._report_zombie({}, {})
            return
        self._positions.compare(finished, stored)
        self._seek_where_needed(partitions, stored)
        # read after the stored offsets: a batch applied meanwhile must not look like an end below the stored offset
        ends = await self._consumer.end_offsets(partitions) if partitions else {}
        begins = {tp: await self._first_waiting(tp, stored) for tp in ends}
        for tp, end in ends.items():
            lag.labels(tp.topic, tp.partition).set(max(end - begins[tp], 0))
        is_behind = any(end < stored.get(Partition(*tp), 0) for tp, end in ends.items())
        self._block("a topic ends below the stored offset" if is_behind else None)
        self._report_zombie({} if is_behind else ends, {} if is_behind else begins)

    async def _first_waiting(self, tp: TopicPartition, stored: Mapping[Partition, int]) -> int:
        partition = Partition(*tp)
        return self._positions.first_waiting(partition, stored.get(partition, 0), await self._consumer.position(tp))

    async def _assign(self, assigned: set[TopicPartition]) -> None:
        """Seek newly assigned partitions to their stored offsets, now or, if that fails, at the next check."""
        self._positions.assign(Partition(*tp) for tp in assigned)
        try:
            self._seek_where_needed(assigned, await self._stored(assigned))
        except Exception as error:  # the next check tries again
            reraise_cancellation()
            log.warning("cannot read the stored offsets", error=describe(error))

    def _seek_where_needed(self, assigned: Collection[TopicPartition], stored: Mapping[Partition, int]) -> None:
        """Seek the partitions that `_positions` has marked to their stored offsets, or to offset 0 without one.

        Only partitions in `assigned` that are still assigned are sought. The offset of the consumer group in Kafka does
        not matter.
        """
        still_assigned = self._consumer.assignment() & set(assigned)
        for partition in self._positions.take_partitions_to_seek(Partition(*tp) for tp in still_assigned):
            self._consumer.seek(TopicPartition(*partition), stored.get(partition, 0))

    def _block(self, reason: str | None) -> None:
        """Stop applying batches, and report the reason as a fault. None: apply batches again, and report ready."""
        self._blocked_by = reason
        if reason is None:
            self._health.report_ready(self._topic)
            return
        replaced = "Kafka was replaced or its topics were created again"
        text = f"{reason}: {replaced}; `{self._reset_command}` starts from the beginning"
        self._health.report_fault(self._topic, text)

    async def _stored(self, partitions: Collection[tuple[str, int]]) -> dict[Partition, int]:
        async with self._pool.acquire(timeout=CHECK_TIMEOUT_SECONDS) as connection:
            return await stored_offsets.read(connection, [Partition(*each) for each in partitions], self._cluster)

    async def _handle(self, records: Any) -> None:
        """Apply a batch, and try again until that succeeds, the consumer goes back, or the process shuts down.

        No error is raised, because FastStream would then continue with the next batch.
        """
        with self._in_hand():
            try:
                await self._apply_until_done(records, self._positions.begin_batch(records))
            finally:  # also after a cancellation, so that records which still wait show a zombie
                self._health.expect_heartbeat(self._batches, None)
                self._positions.end_batch()

    async def _apply_until_done(self, records: Records, missing: Mapping[Partition, int]) -> None:
        seconds, max_seconds = 0.25, _MAX_BACKOFF_SECONDS
        while not self._stopping.is_set():
            self._health.expect_heartbeat(self._batches, time.monotonic() + self.attempt_seconds)
            try:
                if self._blocked_by is None:
                    await self._apply_or_go_back(records, missing)
                    return
            except stored_offsets.KafkaReplaced as error:
                self._block(str(error))
            except Exception as error:
                reraise_cancellation()
                max_seconds = _OUTAGE_SECONDS if is_outage(error) else _MAX_BACKOFF_SECONDS
                self._health.report_fault(self._batches, describe(error))
            await pause(self._stopping, seconds)
            seconds = min(seconds * 2, max_seconds)

    async def _apply_or_go_back(self, records: Records, missing: Mapping[Partition, int]) -> None:
        try:
            await self._apply(records, self._cluster, self._positions.reached)
        except stored_offsets.AheadOfStoredOffset:  # a part of the batch may have been applied
            self._after_batch({})  # the records come again, and their gaps are logged then
            await self._go_back(records)
            return
        self._after_batch(missing)
        self._health.report_ready(self._batches)
        try:
            async with shutdown_deadline(self._stopping, 1):
                await self._consumer.commit()  # only so that Kafka's tools show the lag
        except (KafkaError, ShutdownDeadlineExceeded) as error:
            log.info("the group's offset was not committed", topic=self._topic, error=describe(error))

    def _after_batch(self, missing: Mapping[Partition, int]) -> None:
        for call in self.after_batch:
            call()
        for partition, count in missing.items():
            log.warning("a gap is accepted", topic=self._topic, partition=partition.partition, missing=count)

    async def _go_back(self, records: Records) -> None:
        """Seek every partition of the batch to its stored offset, and so read it again from there.

        The stored offsets are read again first, because a part of the batch may have been applied. A partition that
        another replica has taken over is left out.
        """
        begins = stored_offsets.first_offsets(records)
        stored = await self._stored(begins)
        for partition in begins:
            offset = stored.get(partition, 0)
            log.warning("reading again from the stored offset", partition=partition.partition, offset=offset)
            try:
                self._consumer.seek(TopicPartition(*partition), offset)
            except IllegalStateError:  # the partition was assigned to another replica
                continue
            self._positions.go_back(partition, offset)

    def _server_of(self, error: Exception) -> str:
        return "Postgres" if isinstance(error, _POSTGRES_ERRORS) else super()._server_of(error)


class _AssignmentListener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, assign: Callable[[set[TopicPartition]], Awaitable[None]]) -> None:
        self._assign = assign

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Remove the lag of these partitions from the metrics, because another replica may get them.

        If this replica gets them back, the next check sets their lag again.
        A batch in hand may still finish: its transaction checks the stored offsets.
        """
        for tp in revoked:
            with suppress(KeyError):
                lag.remove(tp.topic, str(tp.partition))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._assign(assigned)
