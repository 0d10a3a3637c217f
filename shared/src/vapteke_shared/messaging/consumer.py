"""The base class of consumers: waits for Kafka and its topics, and reports a consumer that fetches nothing."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaMessage

from vapteke_shared.messaging import fetch_limits, kafka_clients
from vapteke_shared.messaging.faststream_broker import create_broker
from vapteke_shared.messaging.partitions import Cluster
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.connection_errors import describe
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ConsumerSettings
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, pause, shutdown_deadline

CHECK_TIMEOUT_SECONDS = 30
_STOP_SECONDS = 10  # for finishing the batch in hand and leaving the group

fetch_limits.install()
log = logs.get(__name__)


class Consumer:
    """The base class of consumers: starts a FastStream broker once Kafka and the topics exist.

    A subclass makes its one subscriber from `_broker`, and sets `_subscriber` to it.

    `Consumer` also detects a zombie, which is a consumer that seems alive but fetches nothing; a zombie turns liveness
    red. A consumer is a zombie when Kafka answers, records wait in a partition, none is in hand, and the offset of the
    first waiting record stays the same for more than `zombie_checks` checks. The checks take five minutes, which is
    longer than a rebalance or a fetch with all its retries. Records of an open transaction do not wait: Kafka's end
    offset is below their offsets.
    """

    check_seconds, zombie_checks = 5.0, 60
    _subscriber: Any

    def __init__(self, settings: ConsumerSettings, health: Health, dependency: str, topics: Collection[str]) -> None:
        self._settings, self._health, self._dependency, self._topics = settings, health, dependency, topics
        self._stopping = asyncio.Event()
        self._cluster = Cluster("", {})
        self._has_records_in_hand = False
        self._unmoved: dict[tuple[TopicPartition, int], int] = {}  # first waiting offset → checks that found it
        self._broker = create_broker(settings)

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping` is set, and then leave the group; the records in hand get 10 s to finish.

        Every error of the start or of a check is reported as a fault and retried, such as a missing topic or a wrong
        password. So `run` ends only at a shutdown or by a cancellation.
        """
        self._stopping = stopping
        started = False
        while not stopping.is_set():
            try:
                async with shutdown_deadline(stopping, 0), asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                    self._cluster = await kafka_clients.read_cluster(self._settings, self._topics)
                    if not started:
                        await self._broker.start()
                    started = True
                    await self._check()
            except ShutdownDeadlineExceeded:
                break
            except Exception as error:
                reraise_cancellation()
                self._unmoved.clear()
                self._health.report_fault(self._dependency, describe(error, self._server_of(error)))
                await pause(stopping, 1)
            else:
                await pause(stopping, self.check_seconds)
        await self._stop()

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        assert consumer is not None, "the broker is started"
        return consumer

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        """Mark records as in hand while the block runs: a consumer that fetches nothing meanwhile is no zombie."""
        self._has_records_in_hand = True
        try:
            yield
        finally:
            self._has_records_in_hand = False

    async def _parse(self, raw: Any) -> KafkaMessage:
        """A message with the raw record or batch, unchanged.

        FastStream's own parser is not used, because it decodes headers and raises an error for malformed ones.
        """
        return KafkaMessage(body=b"", raw_message=raw, consumer=self._consumer)

    async def _decode(self, message: KafkaMessage) -> Any:
        return message.raw_message

    async def _check(self) -> None:
        """Report that Kafka is ready, and whether this consumer is a zombie. Subclasses may replace this method.

        `run` calls `_check` every few seconds, and reports an error that `_check` raises in the health.
        """
        self._health.report_ready(self._dependency)
        assigned = self._consumer.assignment()
        ends = await self._consumer.end_offsets(assigned) if assigned else {}
        self._report_zombie(ends, {tp: await self._consumer.position(tp) for tp in ends})

    def _report_zombie(self, ends: Mapping[TopicPartition, int], begins: Mapping[TopicPartition, int]) -> None:
        """Report as stuck a consumer that is a zombie or has left its group for good. Call this once in each check.

        In each partition, the records from `begins` up to `ends` wait. `ends` is the offset after the last of them.
        """
        waiting = [] if self._has_records_in_hand else [(tp, begin) for tp, begin in begins.items() if begin < ends[tp]]
        self._unmoved = {position: self._unmoved.get(position, 0) + 1 for position in waiting}
        stuck = sorted(f"{tp.topic}/{tp.partition}" for (tp, _), n in self._unmoved.items() if n > self.zombie_checks)
        fault = f"records wait and are not fetched: {', '.join(stuck)}" if stuck else None
        if self._consumer._coordinator._coordination_task.done():  # aiokafka does not start it again
            fault = "the consumer has left its group for good"
        self._health.report_stuck(self._dependency, fault)

    async def _stop(self) -> None:
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._broker.stop()
        except Exception as error:  # the process ends either way
            reraise_cancellation()
            log.warning("Kafka consumer did not stop cleanly", dependency=self._dependency, error=describe(error))

    def _server_of(self, error: Exception) -> str:
        """The name of the server that the error comes from, or an empty text when it is unknown, as for a time-out."""
        return "Kafka" if isinstance(error, KafkaError) else ""
