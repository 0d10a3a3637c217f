"""Apache Kafka as the stack starts it."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from vapteke_local.machine import ports, processes
from vapteke_local.servers import kafka
from vapteke_local.servers.kafka import Kafka


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that Postgres may enter when we are root; it may not enter pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="vapteke-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_a_cluster_id_cannot_be_read_as_an_option() -> None:
    ids = {kafka.new_cluster_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(cluster_id) for cluster_id in ids} == {22}
    assert not any(cluster_id.startswith("-") for cluster_id in ids)


async def test_kafka_carries_a_record_and_keeps_it_over_a_restart(data: Path) -> None:
    async with kafka.serve(data) as first:
        await create(first, "kept", copies=1)
        await send(first, "kept", b"a record")
    async with kafka.serve(data) as second:
        record = await receive(second, "kept")

    assert (record, second.bootstrap) == (b"a record", first.bootstrap)
    assert all(ports.is_free(int(address.split(":")[1])) for address in second.bootstrap)


async def test_kafka_comes_back_after_a_kill(data: Path) -> None:
    async with kafka.serve(data) as server:
        await create(server, "kept", copies=1)
        await send(server, "kept", b"a record")
        server.brokers[0].kill()
        await started_again(server)

        assert await receive(server, "kept") == b"a record"


async def test_kafka_creates_no_topic_by_itself(kafka_server: Kafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    await admin.describe_topics(["never-made"])
    topics = await admin.list_topics()
    await admin.close()

    assert "never-made" not in topics


async def test_three_brokers_lose_one_and_no_record(data: Path) -> None:
    async with kafka.serve(data, brokers=3) as server:
        await create(server, "copied", copies=3)
        await send(server, "copied", b"a record")
        await server.brokers[0].stop()

        assert await receive(server, "copied") == b"a record"


async def started_again(server: Kafka) -> None:
    """Waits until the first broker, which died once, accepts connections again."""
    port = int(server.bootstrap[0].split(":")[1])
    async with asyncio.timeout(120):
        while True:
            if server.brokers[0].deaths and not await processes.listening(port):
                return
            await asyncio.sleep(0.05)


async def create(server: Kafka, topic: str, copies: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=copies)])
    await admin.close()


async def send(server: Kafka, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def receive(server: Kafka, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=server.bootstrap, auto_offset_reset="earliest")
    try:
        await consumer.start()
        async with asyncio.timeout(60):
            value: bytes = (await consumer.getone()).value
    finally:
        await consumer.stop()
    return value
