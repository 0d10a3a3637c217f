"""A FastStream subscriber that waits for Kafka and its topics, and reports a fetch that is stuck."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaMessage

from vapteke_shared.messaging import fetch_limits, kafka
from vapteke_shared.messaging.brokers import create_broker
from vapteke_shared.messaging.partitions import Cluster
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.connections import told
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ConsumerSettings
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, pause, shutdown_deadline

CHECK_TIMEOUT_SECONDS = 30
_BATCH_SECONDS = 10  # after the stop, for the batch in hand and for leaving the group

fetch_limits.install()
log = logs.get(__name__)


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
                async with shutdown_deadline(stopping, 0), asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                    self._cluster = await kafka.cluster(self._settings, self._topics)
                    if not started:
                        await self._broker.start()
                    started = True
                    await self._check()
            except ShutdownDeadlineExceeded:
                break
            except Exception as error:
                reraise_cancellation()
                self._unmoved.clear()
                self._health.ill(self._need, told(error, self._side_of(error)))
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

    def _side_of(self, error: Exception) -> str:
        """The server that an error comes from; empty for a time-out, which may be of any."""
        return "Kafka" if isinstance(error, KafkaError) else ""
