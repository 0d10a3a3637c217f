"""Which consumers are told to be zombies: over a real Kafka, all at once, as each has to be watched for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream import AckPolicy
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.messaging.consumer import Consumer
from vapteke_shared.process import health
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ConsumerSettings

CHECKS = 2


class Watched(Consumer):
    """Holds what it is given until it is told to let go."""

    check_seconds, zombie_checks = 0.5, CHECKS

    def __init__(self, settings: ConsumerSettings, topic: str) -> None:
        self.health, self.checks, self.letting_go, self.taken = Health(), 0, asyncio.Event(), 0
        super().__init__(settings, self.health, "kafka", [topic])
        self._subscriber = self._broker.subscriber(
            topic,
            group_id=topic,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=self._decode,
        )
        self._subscriber(self._handle)

    async def _handle(self, record: Any) -> None:
        with self._in_hand():
            await self.letting_go.wait()
            self.taken += 1

    async def _check(self) -> None:
        await super()._check()
        self.checks += 1

    @property
    def live(self) -> tuple[int, bytes]:
        answer = health.live(self.health)
        return answer.status_code, bytes(answer.body)


@pytest.fixture
async def topics(kafka_server: Kafka) -> list[str]:
    names = [f"test.zombies.{uuid4().hex}" for _ in range(4)]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    await admin.close()
    return names


@asynccontextmanager
async def producing(server: Kafka, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, **options)
    await producer.start()
    yield producer
    await producer.stop()


@asynccontextmanager
async def running(*consumers: Watched) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(each.run(stopping)) for each in consumers]
    yield
    stopping.set()
    for each in consumers:
        each.letting_go.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 120)


async def checked(times: int, *consumers: Watched) -> None:
    wanted = {each: each.checks + times for each in consumers}
    async with asyncio.timeout(90):
        while any(each.checks < count for each, count in wanted.items()):
            await asyncio.sleep(0.1)


@pytest.mark.timeout(900)
async def test_only_a_consumer_that_leaves_its_records_waiting_is_a_zombie(
    kafka_server: Kafka, topics: list[str]
) -> None:
    settings = ConsumerSettings(kafka_bootstrap_servers=kafka_server.bootstrap)
    paused, busy, held_back, alone = consumers = [Watched(settings, topic) for topic in topics]
    beside = Watched(settings, topics[3])  # of two in a group, one has no partition
    async with (
        producing(kafka_server) as producer,
        producing(kafka_server, transactional_id=topics[2]) as open_ended,
        running(*consumers, beside),
    ):
        await checked(1, *consumers, beside)
        paused._consumer.pause(*paused._consumer.assignment())
        for topic in topics[:2]:
            for _ in range(3):
                await producer.send_and_wait(topic, b"waits")
        await open_ended.begin_transaction()
        await open_ended.send_and_wait(topics[2], b"not yet committed")

        await checked(CHECKS + 2, *consumers, beside)

        text = f'{{"status":"stuck","faults":{{"kafka":"records wait and are not fetched: {topics[0]}/0"}}}}'
        assert paused.live == (503, text.encode())
        for other in (busy, held_back, alone, beside):
            assert other.live == (200, b'{"status":"live"}')

        paused._consumer.resume(*paused._consumer.assignment())
        paused.letting_go.set()
        await checked(2, paused)
        assert (paused.live[0], paused.taken) == (200, 3)
        await open_ended.abort_transaction()


async def test_a_consumer_that_has_left_its_group_is_a_zombie(kafka_server: Kafka, topics: list[str]) -> None:
    consumer = Watched(ConsumerSettings(kafka_bootstrap_servers=kafka_server.bootstrap), topics[0])
    async with running(consumer):
        await checked(1, consumer)
        consumer._consumer._coordinator._coordination_task.cancel()

        await checked(2, consumer)

        assert consumer.live[0] == 503
