"""The importer's task consumer, on a Kafka of its own where no topic exists yet and nobody else sends tasks."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from legacy_importer.import_states import RecentIds
from legacy_importer.importer import Importer
from legacy_importer.publisher import Publisher
from legacy_importer.settings import WorkSettings
from legacy_importer.task_consumer import TaskConsumer
from vapteke_local.servers import kafka
from vapteke_local.servers.kafka import Kafka
from vapteke_local.vaptekesync import Server
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import (
    AttemptFailed,
    Failed,
    ImportState,
    Planned,
    PlanRequested,
    PlanStarted,
    RangePublished,
    RangeRequested,
    RowsRequested,
)
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process.health import Health

Serve = Callable[..., Any]
SettingsFor = Callable[..., WorkSettings]
Eventually = Callable[..., Awaitable[None]]

PARTITIONS = [TopicPartition(topics.IMPORT_TASKS.name, number) for number in range(topics.IMPORT_TASKS.partitions)]


@pytest.fixture(scope="module")
async def empty_kafka(server_data: Path) -> AsyncIterator[Kafka]:
    """Without topics, until a test creates them."""
    async with kafka.serve(server_data / "kafka-of-the-importer") as server:
        yield server


@pytest.fixture
async def own_kafka(empty_kafka: Kafka) -> Kafka:
    """With topics."""
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=empty_kafka.bootstrap))
    return empty_kafka


@asynccontextmanager
async def working(settings: WorkSettings, kind: type[TaskConsumer] = TaskConsumer) -> AsyncIterator[Health]:
    """An importer at work; it stops, in time, with the block."""
    health, publisher, stopping = Health("kafka"), Publisher(settings), asyncio.Event()
    consumer = kind(settings, Importer(settings, publisher, stopping), health)
    running = asyncio.create_task(consumer.run(stopping))
    try:
        yield health
    finally:
        stopping.set()
        await asyncio.wait_for(running, 10)
        await publisher.close()


async def send(own_kafka: Kafka, *tasks: Event | bytes) -> None:
    """All to one partition: their order is kept."""
    producer = AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap)
    await producer.start()
    try:
        for task in tasks:
            value, headers = (task, []) if isinstance(task, bytes) else (codec.encode(task), headers_of(task))
            await producer.send_and_wait(topics.IMPORT_TASKS.name, value, headers=headers, partition=0)
    finally:
        await producer.stop()


def headers_of(task: Event) -> codec.Headers:
    return codec.headers(task, "a-test", "a-subject")


async def records_in(own_kafka: Kafka, topic: str) -> list[ConsumerRecord]:
    """All that the topic's first partition holds now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=own_kafka.bootstrap)
    partition = TopicPartition(topic, 0)
    try:
        await consumer.start()
        consumer.assign([partition])
        await consumer.seek_to_beginning()
        end, found = (await consumer.end_offsets([partition]))[partition], []
        while await consumer.position(partition) < end:
            found += [r for page in (await consumer.getmany(timeout_ms=100)).values() for r in page]
        return found
    finally:
        await consumer.stop()


async def answers_of(own_kafka: Kafka, import_id: UUID) -> list[Event]:
    found = await records_in(own_kafka, topics.IMPORT_PROGRESS.name)
    decoded = [codec.decode(record.value, record.headers) for record in found]
    return [event for event in decoded if event.import_id == import_id]


async def waiting_tasks(own_kafka: Kafka) -> int:
    """How many tasks are not committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=own_kafka.bootstrap)
    try:
        await admin.start()
        await consumer.start()
        ends = await consumer.end_offsets(PARTITIONS)
        committed = await admin.list_consumer_group_offsets("legacy-importer", partitions=PARTITIONS)
        done = {partition: max(each.offset, 0) for partition, each in committed.items()}
        return sum(end - done.get(partition, 0) for partition, end in ends.items())
    finally:
        await consumer.stop()
        await admin.close()


async def until(look: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await look():
            await asyncio.sleep(0.1)


async def committed(own_kafka: Kafka) -> None:
    async def all_done() -> bool:
        return await waiting_tasks(own_kafka) == 0

    await until(all_done)


def whole(import_id: UUID) -> RangeRequested:
    return RangeRequested(import_id=import_id, chunk=0, after_id=None, upto_id=1000)


def customer(key: int) -> tuple[Any, ...]:
    return (key, f"8907{key:07d}", *[None] * 7)


async def test_without_topics_it_waits_says_so_and_then_works(
    serve: Serve, settings_for: SettingsFor, empty_kafka: Kafka, eventually: Eventually
) -> None:
    import_id = uuid4()
    with serve([customer(1)]) as server:
        async with working(settings_for(server, kafka_bootstrap_servers=empty_kafka.bootstrap)) as health:
            await eventually(lambda: "topics are missing" in health.faults.get("kafka", ""))
            assert topics.IMPORT_TASKS.name in health.faults["kafka"]
            assert "`vapteke-topics` creates them" in health.faults["kafka"]

            await create_topics.create(TopicsSettings(kafka_bootstrap_servers=empty_kafka.bootstrap))
            await eventually(lambda: not health.faults)
            await send(empty_kafka, PlanRequested(import_id=import_id, rows_per_range=10))
            await committed(empty_kafka)

    started, planned = await answers_of(empty_kafka, import_id)
    assert started == PlanStarted(import_id=import_id)
    assert isinstance(planned, Planned)
    assert (planned.row_count, planned.upper_bounds) == (1, [1])


async def test_without_kafka_it_waits_and_says_so(
    serve: Serve, settings_for: SettingsFor, eventually: Eventually
) -> None:
    with serve() as server:
        async with working(settings_for(server)) as health:
            assert health.faults == {"kafka": "starting"}
            await eventually(lambda: health.faults.get("kafka", "").startswith("Kafka at "))


async def test_a_task_is_done_and_then_committed(serve: Serve, settings_for: SettingsFor, own_kafka: Kafka) -> None:
    import_id = uuid4()
    with serve([customer(key) for key in range(1, 301)]) as server:
        await send(own_kafka, whole(import_id))
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await committed(own_kafka)

    [published] = await answers_of(own_kafka, import_id)
    assert isinstance(published, RangePublished)
    assert published.event_count == 300


async def test_a_task_that_is_rubbish_is_skipped(serve: Serve, settings_for: SettingsFor, own_kafka: Kafka) -> None:
    import_id = uuid4()
    with serve([customer(1)]) as server:
        await send(own_kafka, b"\xff\xfe", b"", b"[]", whole(import_id))
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await committed(own_kafka)

    [published] = await answers_of(own_kafka, import_id)
    assert isinstance(published, RangePublished)


async def test_tasks_are_done_once_and_in_order(serve: Serve, settings_for: SettingsFor, own_kafka: Kafka) -> None:
    import_id = uuid4()
    tasks = [RangeRequested(import_id=import_id, chunk=n, after_id=n, upto_id=n + 1) for n in range(20)]
    with serve([customer(key) for key in range(1, 301)]) as server:
        await send(own_kafka, *tasks)
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await committed(own_kafka)

    answers = await answers_of(own_kafka, import_id)
    assert [(answer.chunk, answer.event_count) for answer in answers if isinstance(answer, RangePublished)] == [
        (number, 1) for number in range(20)
    ]


async def test_a_task_that_was_not_finished_is_left_to_the_next_importer(
    serve: Serve, settings_for: SettingsFor, own_kafka: Kafka, eventually: Eventually
) -> None:
    first, second = uuid4(), uuid4()
    with serve([customer(1)]) as server:
        settings = settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap, mssql_retries_sleep=60)
        server.set_fault("refuse")
        await send(own_kafka, whole(first), whole(second))
        async with working(settings):
            await eventually(lambda: refused(server))
        left = await waiting_tasks(own_kafka)

        server.clear_faults()
        async with working(settings):
            await committed(own_kafka)

    assert left == 2
    for import_id in (first, second):
        answers = [type(answer) for answer in await answers_of(own_kafka, import_id)]
        assert [kind for kind in answers if kind is not AttemptFailed] == [RangePublished]


def refused(server: Server) -> bool:
    return server.stats.connections_refused > 0


async def test_a_stop_in_mid_range_ends_in_time(
    serve: Serve, settings_for: SettingsFor, own_kafka: Kafka, eventually: Eventually
) -> None:
    import_id = uuid4()
    with serve([customer(1)]) as server:
        settings = settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap, mssql_timeout=60)
        server.set_fault("silent", statement="range")
        await send(own_kafka, whole(import_id))
        async with working(settings):
            await eventually(lambda: server.stats.statements["range"])
            shutdown_at = time.monotonic()

        assert time.monotonic() - shutdown_at < settings.mssql_timeout / 2
        await eventually(lambda: server.stats.connections_open == 0, seconds=60)
    assert await answers_of(own_kafka, import_id) == []
    assert await waiting_tasks(own_kafka) == 1


ALL: dict[str, Any] = {"chunk": 0, "after_id": None, "upto_id": 1000}


async def say(own_kafka: Kafka, *states: ImportState) -> None:
    """In a transaction, as the relay does."""
    producer = AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap, transactional_id="a-test")
    await producer.start()
    try:
        async with producer.transaction():
            for state in states:
                value = codec.encode(state)
                await producer.send(topics.IMPORT_STATE.name, value, headers=headers_of(state), partition=0)
    finally:
        await producer.stop()


async def test_tasks_of_imports_that_are_not_alive_cost_nothing(
    own_kafka: Kafka, serve: Serve, settings_for: SettingsFor
) -> None:
    completed, abandoned, alive, unknown, of_rows = (uuid4() for _ in range(5))
    tasks: list[Event] = [RowsRequested(import_id=of_rows, chunk=0, legacy_ids=[1], number=3)]
    for import_id in (completed, abandoned, unknown, alive):
        tasks.append(PlanRequested(import_id=import_id, rows_per_range=10, number=1))
        tasks.append(RangeRequested(import_id=import_id, number=2, **ALL))
    await say(
        own_kafka,
        ImportState(import_id=completed, status="requested"),
        ImportState(import_id=completed, status="completed", read=2),
        ImportState(import_id=abandoned, status="requested"),
        ImportState(import_id=alive, status="requested"),
        ImportState(import_id=alive, status="running"),
        ImportState(import_id=completed, status="completed", read=2),  # said twice
    )
    await send(own_kafka, *tasks)

    with serve([customer(1), customer(2)]) as server:
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await committed(own_kafka)

    assert [type(event) for event in await answers_of(own_kafka, alive)] == [PlanStarted, Planned, RangePublished]
    assert [type(event) for event in await answers_of(own_kafka, of_rows)] == [RangePublished]
    for import_id in (completed, abandoned, unknown):
        assert await answers_of(own_kafka, import_id) == []


async def test_a_topic_of_states_that_is_recreated_is_read_again(
    own_kafka: Kafka, serve: Serve, settings_for: SettingsFor
) -> None:
    before, after = uuid4(), uuid4()
    statuses: tuple[Literal["requested", "running", "completed"], ...] = ("requested", "running", "completed")
    await say(own_kafka, *(ImportState(import_id=before, status=status) for status in statuses))

    with serve([customer(1)]) as server:
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await send(own_kafka, RangeRequested(import_id=before, number=1, **ALL))
            await committed(own_kafka)
            await recreate(own_kafka, topics.IMPORT_STATE.name)
            await say(own_kafka, ImportState(import_id=after, status="requested"))
            await send(own_kafka, RangeRequested(import_id=after, number=2, **ALL))
            await committed(own_kafka)

    assert await answers_of(own_kafka, before) == []
    assert [type(event) for event in await answers_of(own_kafka, after)] == [RangePublished]


class Hasty(TaskConsumer):
    states_seconds = 1.0


async def test_an_import_whose_states_are_lost_fails_and_says_why(
    own_kafka: Kafka, serve: Serve, settings_for: SettingsFor
) -> None:
    import_id = uuid4()
    await say(own_kafka, ImportState(import_id=import_id, status="running"))
    await recreate(own_kafka, topics.IMPORT_STATE.name)
    await send(
        own_kafka,
        PlanRequested(import_id=import_id, rows_per_range=10, number=1),
        RangeRequested(import_id=import_id, number=2, **ALL),
    )

    with serve([customer(1)]) as server:
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap), Hasty):
            await committed(own_kafka)

    answers = [event for event in await answers_of(own_kafka, import_id) if isinstance(event, Failed)]
    assert [(answer.chunk, answer.number) for answer in answers] == [(None, 1), (0, 2)]
    assert all(f"{topics.IMPORT_STATE.name} no longer names this import" in answer.error for answer in answers)


async def test_a_task_waits_for_a_state_that_comes_late(
    own_kafka: Kafka, serve: Serve, settings_for: SettingsFor
) -> None:
    import_id = uuid4()
    await recreate(own_kafka, topics.IMPORT_STATE.name)
    await send(own_kafka, RangeRequested(import_id=import_id, number=2, **ALL))

    with serve([customer(1)]) as server:
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)) as health:
            await until(lambda: is_well(health))
            waiting = await waiting_tasks(own_kafka)
            await say(own_kafka, ImportState(import_id=import_id, status="running"))
            await committed(own_kafka)

    assert waiting == 1
    assert [type(event) for event in await answers_of(own_kafka, import_id)] == [RangePublished]


async def is_well(health: Health) -> bool:
    return not health.faults


async def recreate(own_kafka: Kafka, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await admin.start()

    async def is_gone() -> bool:
        return topic not in await admin.list_topics()

    try:
        await admin.delete_topics([topic])
        await until(is_gone)
    finally:
        await admin.close()
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=own_kafka.bootstrap))


async def test_an_importer_logs_how_an_import_ended_that_it_worked_for(
    own_kafka: Kafka, serve: Serve, settings_for: SettingsFor, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = uuid4(), uuid4()
    await say(own_kafka, ImportState(import_id=other, status="requested"))
    await say(own_kafka, ImportState(import_id=other, status="failed", error="another's"))
    await say(own_kafka, ImportState(import_id=mine, status="requested"))
    await send(own_kafka, RangeRequested(import_id=mine, number=9, **ALL))

    with serve([customer(1)]) as server:
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await committed(own_kafka)
            await say(own_kafka, ImportState(import_id=mine, status="completed", read=1))
            said = ""

            async def is_reported() -> bool:
                nonlocal said
                said += capsys.readouterr().out
                return "import completed" in said

            await until(is_reported)

    assert str(mine) in said
    assert "import failed" not in said


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"{", [("ce_type", PlanRequested.type.encode())], "malformed JSON"),
        (b"{}", [], "unknown event type"),
        (
            codec.encode(PlanStarted(import_id=UUID(int=7))),
            [("ce_type", PlanStarted.type.encode())],
            "this event does not belong to this topic: vapteke.import.plan_started",
        ),
    ],
)
async def test_what_is_no_task_is_kept_in_the_dead_topic_of_the_tasks(
    own_kafka: Kafka, serve: Serve, settings_for: SettingsFor, value: bytes, headers: codec.Headers, reason: str
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=own_kafka.bootstrap)
    await producer.start()
    sent = await producer.send_and_wait(topics.IMPORT_TASKS.name, value, headers=headers, partition=0)
    await producer.stop()

    with serve() as server:
        async with working(settings_for(server, kafka_bootstrap_servers=own_kafka.bootstrap)):
            await committed(own_kafka)

    letters = await letters_of(own_kafka)
    assert letters[f"{topics.IMPORT_TASKS.name}/0/{sent.offset}"] == (value, reason)


async def letters_of(own_kafka: Kafka) -> dict[str, tuple[bytes, str]]:
    """By origin: the value and the reason."""
    found = await records_in(own_kafka, "vapteke.import.tasks.dead.v1")
    return {record.key.decode(): (record.value, dict(record.headers)["reason"].decode()) for record in found}


def test_of_many_imports_those_that_came_last_are_remembered() -> None:
    recent, ids = RecentIds(2), [UUID(int=number) for number in range(3)]

    added = [recent.add(import_id) for import_id in [ids[0], *ids]]

    assert added == [True, False, True, True]
    assert [import_id in recent for import_id in ids] == [False, True, True]
