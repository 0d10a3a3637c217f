"""The program of docs/events.md, run as it is written, on a topic with everything that its rules speak of."""

import asyncio
import os
import re
import sys
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.contract import topics
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
TOPIC = topics.CUSTOMERS.name


@pytest.fixture
async def producer(kafka_server: Kafka) -> AIOKafkaProducer:
    """It writes to a new topic of customers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    if TOPIC in await admin.list_topics():
        await admin.delete_topics([TOPIC])
        await gone(admin)
    await admin.close()
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=",".join(kafka_server.bootstrap)))
    return AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap, transactional_id="a-test-of-following")


async def gone(admin: AIOKafkaAdminClient) -> None:
    async with asyncio.timeout(30):
        while TOPIC in await admin.list_topics():
            await asyncio.sleep(0.05)


async def test_the_program_of_the_page_keeps_the_newest_state_of_each_customer(
    producer: AIOKafkaProducer, kafka_server: Kafka, tmp_path: Path
) -> None:
    async with producer:
        async with producer.transaction():
            await send(producer, 1, version=1)
            await send(producer, 1, version=3, deleted_at="2026-01-02T03:04:05.678Z")  # version 2 was compacted away
            await send(producer, 1, version=1)  # a second time
            await send(producer, 2, version=1)
            await send(producer, 3, version=1)
            await producer.send(TOPIC, None, key=b"3")
        await producer.begin_transaction()
        await send(producer, 4, version=1)
        await producer.abort_transaction()

    answer = await follow(tmp_path, kafka_server)

    assert answer == "1 active customers, 1 deleted ones\n"


async def send(producer: AIOKafkaProducer, customer_id: int, version: int, deleted_at: str | None = None) -> None:
    state = {"id": customer_id, "version": version, "deleted_at": deleted_at}
    await producer.send_and_wait(TOPIC, msgspec.json.encode(state), key=str(customer_id).encode())


async def follow(folder: Path, server: Kafka) -> str:
    """What the program prints."""
    [program] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file = folder / "follow.py"
    file.write_text(program)
    process = await asyncio.create_subprocess_exec(
        sys.executable, file, env={**os.environ, "KAFKA": ",".join(server.bootstrap)}, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return output.decode()
