"""The liveness of a batch consumer on a real Kafka: what turns it red, and what does not."""

import asyncio
from collections.abc import MutableMapping
from typing import Any
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.batch_consumer import BatchConsumer, Records
from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import WorkSettings

CHECKS = 2


class Watched(BatchConsumer):
    check_seconds, zombie_checks = 0.5, CHECKS

    def __init__(self, settings: WorkSettings, pool: asyncpg.Pool, topic: str) -> None:
        self.health, self.checks, self.postgres_is_away = Health(), 0, False
        self.going_on = asyncio.Event()
        self.going_on.set()
        names: dict[str, Any] = {"topic": topic, "group": topic, "reset_command": ""}
        super().__init__(settings, pool, self.health, apply=self.apply, max_records=10, **names)

    async def apply(self, records: Records, cluster: Cluster, reached: MutableMapping[Partition, int]) -> None:
        if self.postgres_is_away:
            raise ConnectionError
        await self.going_on.wait()
        async with (
            self._pool.acquire() as connection,
            stored_offsets.transaction(connection, records, cluster, reached),
        ):
            pass

    async def _check(self) -> None:
        await super()._check()
        self.checks += 1

    async def checked(self, times: int = CHECKS + 3) -> None:
        wanted = self.checks + times
        async with asyncio.timeout(60):
            while self.checks < wanted:
                await asyncio.sleep(0.05)


async def test_who_fetches_nothing_is_stuck_and_who_waits_for_postgres_is_not(
    settings: WorkSettings, pool: asyncpg.Pool, kafka_server: Kafka
) -> None:
    topic, stopping = f"test.liveness.{uuid4().hex}", asyncio.Event()
    admin, producer = [
        kind(bootstrap_servers=kafka_server.bootstrap) for kind in (AIOKafkaAdminClient, AIOKafkaProducer)
    ]
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    await producer.start()
    consumer = Watched(settings.model_copy(update={"kafka_bootstrap_servers": kafka_server.bootstrap}), pool, topic)
    running = asyncio.create_task(consumer.run(stopping))
    reports = []

    await consumer.checked(1)
    consumer.postgres_is_away = True
    for _ in range(30):
        await producer.send_and_wait(topic, b"waits")
    await consumer.checked()
    reports.append(dict(consumer.health.restart_reasons))

    consumer._consumer.pause(*consumer._consumer.assignment())
    consumer.postgres_is_away = False
    await consumer.checked(20)
    reports.append(dict(consumer.health.restart_reasons))

    consumer._consumer.resume(*consumer._consumer.assignment())
    await consumer.checked()
    reports.append(dict(consumer.health.restart_reasons))

    consumer.attempt_seconds = 0.5
    consumer.going_on.clear()
    await producer.send_and_wait(topic, b"hangs")
    await consumer.checked(10)
    reports.append(dict(consumer.health.restart_reasons))

    consumer.going_on.set()
    await consumer.checked()
    reports.append(dict(consumer.health.restart_reasons))

    stopping.set()
    await asyncio.wait_for(running, 120)
    await producer.stop()
    zombie, hanging = {topic: f"records wait and are not fetched: {topic}/0"}, {f"{topic}: batches": "the loop hangs"}
    assert reports == [{}, zombie, {}, hanging, {}]
