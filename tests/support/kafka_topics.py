"""A topic of a test's own on a real Kafka: made, filled, shortened as retention does, deleted, and read in parts."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.batch_consumer import BatchConsumer, Records
from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import WorkSettings


class TopicOfTest:
    """Its records are written in transactions: each leaves a marker behind, which no reader sees."""

    def __init__(self, name: str, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer) -> None:
        self.name, self._admin, self._producer = name, admin, producer

    async def create(self, partitions: int) -> None:
        await self._admin.create_topics([NewTopic(self.name, partitions, 1)])

    async def delete(self) -> None:
        await self._admin.delete_topics([self.name])
        async with asyncio.timeout(30):
            while self.name in await self._admin.list_topics():
                await asyncio.sleep(0.05)

    async def grow(self, partitions: int) -> None:
        await self._admin.create_partitions({self.name: NewPartitions(partitions)})
        async with asyncio.timeout(30):
            while len(await self._producer.partitions_for(self.name)) < partitions:
                await asyncio.sleep(0.05)

    async def write(self, partition: int, *values: bytes) -> None:
        async with self._producer.transaction():
            for value in values:
                await self._producer.send(self.name, value, partition=partition)

    async def remove_before(self, offsets: dict[int, int]) -> None:
        """As retention does."""
        below = {TopicPartition(self.name, partition): RecordsToDelete(offset) for partition, offset in offsets.items()}
        await self._admin.delete_records(below)


@asynccontextmanager
async def topic_of_test(bootstrap: list[str], name: str) -> AsyncIterator[TopicOfTest]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=f"{name}.writer",
        metadata_max_age_ms=500,
        max_request_size=2**30,
        compression_type="zstd",
    )
    await admin.start()
    await producer.start()
    try:
        yield TopicOfTest(name, admin, producer)
    finally:
        await producer.stop()
        await admin.close()


class Reader(BatchConsumer):
    """Reads a topic in parts of `part` records, each in a transaction of its own; `read` is what was applied."""

    check_seconds = 0.2

    def __init__(self, settings: WorkSettings, pool: asyncpg.Pool, topic: str, part: int) -> None:
        self.health, self.read, self.part, self._db = Health(topic), set[bytes](), part, pool
        self.checks = 0
        options: dict[str, Any] = {"reset_command": "service offsets reset", "max_records": 1000}
        super().__init__(settings, pool, self.health, topic, f"{topic}.readers", self.apply, **options)

    async def apply(self, records: Records, cluster: Cluster, reached: MutableMapping[Partition, int]) -> None:
        for begin in range(0, len(records), self.part):
            part = records[begin : begin + self.part]
            async with (
                self._db.acquire() as connection,
                stored_offsets.transaction(connection, part, cluster, reached) as is_new,
            ):
                self.read |= {record.value for record in part if is_new(record)}

    async def _check(self) -> None:
        await super()._check()
        self.checks += 1

    async def between_checks(self) -> None:
        """A check that is cut off while it connects leaves a connection of aiokafka's open."""
        before = self.checks
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self.checks == before:
                    await asyncio.sleep(0.01)

    async def has_read(self, wanted: set[bytes]) -> None:
        async with asyncio.timeout(60):
            while not wanted <= self.read:
                await asyncio.sleep(0.05)

    async def says(self, text: str) -> None:
        """Until its health holds this text; empty: until it is well."""
        async with asyncio.timeout(60):
            while not (text in str(self.health.faults) if text else not self.health.faults):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def reading(settings: WorkSettings, pool: asyncpg.Pool, topic: str, part: int = 1000) -> AsyncIterator[Reader]:
    reader, stopping = Reader(settings, pool, topic, part), asyncio.Event()
    running = asyncio.create_task(reader.run(stopping))
    try:
        yield reader
    finally:
        await reader.between_checks()
        stopping.set()
        await asyncio.wait_for(running, 30)
