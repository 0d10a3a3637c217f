"""Rubbish on the topic of legacy customers, over a real Kafka: it is set aside, and nothing else notices."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from legacy_events import Attempt
from vapteke_local.servers import kafka as kafka_servers
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.process.health import Health

TOPIC = topics.LEGACY_CUSTOMERS.name
SECRET = b"79025163111"
MEGABYTES = 5 * 2**20


@pytest.fixture
async def with_kafka(settings: WorkSettings, server_data: Path) -> AsyncIterator[WorkSettings]:
    """A broker whose topic takes more than ours do by themselves."""
    async with kafka_servers.serve(server_data / "poison-kafka") as server:
        with_kafka = settings.model_copy(update={"kafka_bootstrap_servers": server.bootstrap})
        async with kafka_clients.admin(with_kafka) as admin:
            larger = {"max.message.bytes": str(2 * MEGABYTES)}
            await admin.create_topics([NewTopic(TOPIC, topics.LEGACY_CUSTOMERS.partitions, 1, topic_configs=larger)])
        yield with_kafka


@pytest.fixture
async def producer(with_kafka: WorkSettings) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=with_kafka.kafka_bootstrap_servers, max_request_size=2 * MEGABYTES)
    await made.start()
    yield made
    await made.stop()


async def test_rubbish_is_set_aside_and_its_neighbours_are_applied(
    with_kafka: WorkSettings,
    producer: AIOKafkaProducer,
    pool: asyncpg.Pool,
    running: UUID,
    capfd: pytest.CaptureFixture[str],
) -> None:
    attempt = Attempt(running)
    good = [attempt.read(number, f"7902516{number:04}") for number in range(1, 8)]
    whole = codec.encode(good[0])
    rubbish: list[tuple[bytes | None, str]] = [
        (b"\xff\x00" + SECRET, good[0].type),
        (whole.replace(b'"legacy_id":1', b'"legacy_id":"' + SECRET + b'"'), good[0].type),
        (b'"' + SECRET + b"x" * MEGABYTES + b'"', good[0].type),
        (whole, "vapteke.legacy_customer.married"),
        (None, good[0].type),
        (whole, "vapteke.import.planned"),
    ]
    for event, (value, kind) in zip(good, [*rubbish, (None, "")], strict=True):
        await producer.send_and_wait(TOPIC, codec.encode(event), headers=headers(event.type), partition=0, key=b"1")
        if kind:
            last = await producer.send_and_wait(TOPIC, value, headers=headers(kind), partition=0, key=b"1")

    stopping, health = asyncio.Event(), Health()
    consuming = asyncio.create_task(ImportConsumers(with_kafka, pool, health).legacy.run(stopping))
    async with asyncio.timeout(60):
        while (await pool.fetchval("SELECT max(next_offset) FROM consumed_offsets") or 0) <= last.offset + 1:
            await asyncio.sleep(0.05)
    stopping.set()
    await consuming

    dead = await pool.fetch("SELECT * FROM outbox WHERE topic = $1 ORDER BY id", topics.LEGACY_CUSTOMERS_DEAD.name)
    assert len(dead) == len(rubbish)
    assert [row["value"] for row in dead] == [(value or b"")[: 64 * 1024] for value, _ in rubbish]
    assert {row["key"].rpartition("/")[0] for row in dead} == {f"{TOPIC}/0"}
    assert SECRET.decode() not in "".join(row["headers"] for row in dead) + "".join(capfd.readouterr())
    applied = await pool.fetch("SELECT legacy_id FROM legacy_customers ORDER BY 1")
    assert [row[0] for row in applied] == [event.legacy_id for event in good]
    assert health.faults == {}


def headers(kind: str) -> list[tuple[str, bytes]]:
    return [("ce_type", kind.encode())]
