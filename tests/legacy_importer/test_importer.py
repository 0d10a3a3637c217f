"""Tasks against the stand-in and a real Kafka: what is published, what is retried, and what fails at once."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
import tls
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from legacy_importer import connection, translate
from legacy_importer.columns import Columns
from legacy_importer.importer import Importer, ShuttingDown
from legacy_importer.publisher import Publisher
from legacy_importer.settings import WorkSettings
from legacy_importer.translate import Context, LegacyRow
from vapteke_local.servers.kafka import Kafka
from vapteke_local.vaptekesync import CUSTOMERS, Encryption, Server
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events import codec, legacy_customers
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import (
    AttemptFailed,
    Failed,
    Planned,
    PlanRequested,
    PlanStarted,
    RangePublished,
    RangeRequested,
    RowsRequested,
)
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected
from vapteke_shared.contract.topics import Topic
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings

Serve = Callable[..., Any]
SettingsFor = Callable[..., WorkSettings]
Import = Callable[..., Awaitable[list[Event]]]

SECRET = "s3cret-p4ssword"
ROWS = 6_000


def customer(key: int, phone: str | None = None) -> tuple[Any, ...]:
    return (key, phone or f"8907{abs(key) % 10_000_000:07d}", "Виктор", f"Ёлкин-{key}", None, None, "М", 77, None)


@pytest.fixture
async def kafka(kafka_server: Kafka) -> Kafka:
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    return kafka_server


@pytest.fixture
async def do(kafka: Kafka, settings_for: SettingsFor) -> AsyncIterator[Import]:
    """`await do(server, *tasks, **settings)`: one importer does the tasks; the answers that it published."""
    publishers: list[Publisher] = []

    async def done(server: Server, *tasks: Event, **changed: Any) -> list[Event]:
        settings = settings_for(server, kafka_bootstrap_servers=kafka.bootstrap, **changed)
        publishers.append(Publisher(settings))
        importer = Importer(settings, publishers[-1], asyncio.Event())
        for task in tasks:
            await importer.do(task)
        return await progress_of(kafka, tasks[0].import_id)

    yield done
    for publisher in publishers:
        await publisher.close()


async def records_of(kafka: Kafka, topic: Topic, import_id: UUID) -> list[tuple[ConsumerRecord, Event]]:
    """All that the topic holds of an import."""
    partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, isolation_level="read_committed")
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends, found = await consumer.end_offsets(partitions), []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            pages = await consumer.getmany(timeout_ms=200)
            found += [record for page in pages.values() for record in page]
    finally:
        await consumer.stop()
    own = [record for record in found if str(import_id).encode() in record.value]
    return [(record, codec.decode(record.value, record.headers)) for record in own]


def without_clocks(event: Event) -> Event:
    assert isinstance(event, Planned)
    assert event.source_at is not None
    assert event.basis is not None
    return msgspec.structs.replace(event, source_at=None, importer_at=None, basis=None, columns=None)


async def progress_of(kafka: Kafka, import_id: UUID) -> list[Event]:
    records = await records_of(kafka, topics.IMPORT_PROGRESS, import_id)
    assert all(record.key == str(import_id).encode() for record, _ in records)
    return [event for _, event in records]


async def customers_of(
    kafka: Kafka, import_id: UUID
) -> list[tuple[ConsumerRecord, LegacyCustomerRead | LegacyCustomerRejected]]:
    records = await records_of(kafka, topics.LEGACY_CUSTOMERS, import_id)
    return [(r, e) for r, e in records if isinstance(e, LegacyCustomerRead | LegacyCustomerRejected)]


def all_rows(import_id: UUID, chunk: int = 0) -> RangeRequested:
    return RangeRequested(import_id=import_id, chunk=chunk, after_id=None, upto_id=2**31 - 1)


async def test_a_plan_is_started_and_planned(serve: Serve, do: Import) -> None:
    task = PlanRequested(import_id=uuid4(), rows_per_range=10, number=7)
    with serve([customer(key) for key in range(1, 26)]) as server:
        started, planned = await do(server, task)

    assert started == PlanStarted(import_id=task.import_id, number=7)
    assert without_clocks(planned) == Planned(
        import_id=task.import_id, row_count=25, upper_bounds=[10, 20, 25], number=7
    )


async def test_a_plan_of_changes_names_what_need_not_be_read(serve: Serve, do: Import) -> None:
    first = PlanRequested(import_id=uuid4(), rows_per_range=10)
    with serve([customer(key) for key in range(1, 21)]) as server:
        _, planned, published = await do(
            server, first, RangeRequested(import_id=first.import_id, chunk=0, after_id=None, upto_id=10)
        )
        assert isinstance(published, RangePublished)
        stored = {"stored_bounds": [10, 20], "stored_fingerprints": [published.fingerprint, None]}
        changes = PlanRequested(import_id=uuid4(), rows_per_range=10, basis=published.basis, **stored)
        other = PlanRequested(import_id=uuid4(), rows_per_range=10, basis={"server": "SQL2"}, **stored)
        answer = (await do(server, changes))[1]
        full = (await do(server, other))[1]

    assert isinstance(planned, Planned)
    assert planned.basis == published.basis
    assert without_clocks(answer) == Planned(
        import_id=changes.import_id, row_count=20, upper_bounds=[10, 20], unread=[0], unread_rows=10
    )
    assert isinstance(full, Planned)
    assert (full.unread, full.upper_bounds) == (None, [10, 20])
    assert "server" in str(full.full_because)


async def test_a_plan_names_the_columns_that_are_read_and_their_types(serve: Serve, do: Import) -> None:
    task, again = (PlanRequested(import_id=uuid4(), rows_per_range=10) for _ in range(2))
    with serve([customer(1)]) as server:
        before = (await do(server, task))[1]
    columns = Columns(city_id="RegionID")
    table = CUSTOMERS.altered("Birthday", sql_type="datetime").altered("CityID", name="RegionID")
    with serve([customer(1)], table) as server:
        after = (await do(server, again, vaptekesync_columns=columns))[1]

    assert isinstance(before, Planned)
    assert isinstance(after, Planned)
    assert before.columns == {
        "id": "ID (int)",
        "phone": "Phone (varchar)",
        "firstname": "FirstName (varchar)",
        "lastname": "LastName (nvarchar)",
        "email": "Email (varchar)",
        "birthday": "Birthday (date)",
        "gender": "Gender (varchar)",
        "city_id": "CityID (int)",
        "last_auth_at": "LastAuthAt (datetime)",
    }
    assert after.columns == before.columns | {"birthday": "Birthday (datetime)", "city_id": "RegionID (int)"}


async def test_an_empty_table_is_a_full_plan_though_ranges_are_stored(serve: Serve, do: Import) -> None:
    task = PlanRequested(import_id=uuid4(), rows_per_range=10)
    with serve([customer(1)]) as server:
        planned = (await do(server, task))[1]
        server.remove(1)
        assert isinstance(planned, Planned)
        changes = PlanRequested(
            import_id=uuid4(), rows_per_range=10, basis=planned.basis, stored_bounds=[1], stored_fingerprints=["1:5"]
        )
        empty = (await do(server, changes))[1]

    assert without_clocks(empty) == Planned(
        import_id=changes.import_id, row_count=0, upper_bounds=[], full_because="the table is empty"
    )


@pytest.mark.parametrize(("first", "rows"), [(1, limits.RANGES_PER_PLAN + 1), (2**63 - 60_000, 52_000)])
async def test_a_plan_of_too_many_ranges_fails_at_once_and_names_the_setting(
    serve: Serve, do: Import, first: int, rows: int
) -> None:
    table = CUSTOMERS.altered("ID", sql_type="bigint")
    task = PlanRequested(import_id=uuid4(), rows_per_range=1, number=7)
    with serve([(key, *[None] * 8) for key in range(first, first + rows)], table) as server:
        started, failed = await do(server, task, mssql_timeout=60)

    assert started == PlanStarted(import_id=task.import_id, number=7)
    assert isinstance(failed, Failed)
    assert failed.error.startswith(f"the table has {rows} rows, in {rows} ranges of 1: ")
    assert "raise IMPORT_RANGE_ROWS" in failed.error


async def test_a_plan_reports_the_clock_of_vaptekesync_beside_the_importers(serve: Serve, do: Import) -> None:
    source_at = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    before = datetime.now(UTC)
    with serve(clock=lambda: source_at.replace(tzinfo=None)) as server:
        _, planned = await do(server, PlanRequested(import_id=uuid4(), rows_per_range=10))

    assert isinstance(planned, Planned)
    assert planned.source_at == source_at
    assert planned.importer_at is not None
    assert before <= planned.importer_at <= datetime.now(UTC)


async def test_the_number_of_a_range_is_in_all_its_events(serve: Serve, do: Import, kafka: Kafka) -> None:
    task = RangeRequested(import_id=uuid4(), chunk=0, after_id=None, upto_id=9, number=12)
    with serve([customer(1), customer(2, phone="нет")]) as server:
        [published] = await do(server, task)
    records = await customers_of(kafka, task.import_id)

    assert isinstance(published, RangePublished)
    assert [published.number, *(event.number for _, event in records)] == [12, 12, 12]


async def test_an_empty_table_is_a_plan_without_bounds(serve: Serve, do: Import) -> None:
    task = PlanRequested(import_id=uuid4(), rows_per_range=10)
    with serve() as server:
        answers = await do(server, task)

    assert without_clocks(answers[1]) == Planned(import_id=task.import_id, row_count=0, upper_bounds=[])


async def test_every_row_of_a_range_is_published_under_its_key(serve: Serve, do: Import, kafka: Kafka) -> None:
    task = RangeRequested(import_id=uuid4(), chunk=3, after_id=100, upto_id=ROWS)
    rows = [customer(key, phone="нет" if key % 50 == 0 else None) for key in range(1, ROWS + 100)]
    with serve(rows) as server:
        [published] = await do(server, task)
    records = await customers_of(kafka, task.import_id)

    assert isinstance(published, RangePublished)
    assert (published.chunk, published.event_count) == (3, ROWS - 100)
    assert sorted(event.legacy_id for _, event in records) == list(range(101, ROWS + 1))
    assert {event.attempt for _, event in records} == {published.attempt}
    assert {event.legacy_id for _, event in records if isinstance(event, LegacyCustomerRejected)} == set(
        range(150, ROWS + 1, 50)
    )
    assert all(record.key == str(event.legacy_id).encode() for record, event in records)
    assert all(dict(record.headers)["ce_subject"] == record.key for record, _ in records)
    assert {dict(record.headers)["ce_id"] for record, _ in records} == {
        f"{published.attempt.hex}-{key}".encode() for key in range(101, ROWS + 1)
    }


async def test_single_rows_are_read_in_one_statement_and_published_like_those_of_a_range(
    serve: Serve, do: Import, kafka: Kafka
) -> None:
    task = RowsRequested(import_id=uuid4(), chunk=3, legacy_ids=[2, 7, 99, 10**12], number=12)
    with serve([customer(key) for key in range(10)]) as server:
        [published] = await do(server, task)
        assert server.stats.statements["rows"] == 1

    events = [event for _, event in await customers_of(kafka, task.import_id)]
    assert isinstance(published, RangePublished)
    assert (published.chunk, published.event_count, published.number) == (3, 2, 12)
    assert {(event.legacy_id, event.chunk, event.attempt, event.number) for event in events} == {
        (key, 3, published.attempt, 12) for key in (2, 7)
    }


async def test_a_single_row_that_cannot_be_selected_is_rejected_and_the_others_are_read(
    serve: Serve, do: Import, kafka: Kafka
) -> None:
    task = RowsRequested(import_id=uuid4(), chunk=0, legacy_ids=[*range(2, 9), 99])
    with serve([customer(key) for key in range(10)]) as server:
        server.make_unreadable(5)
        [published] = await do(server, task)

    events = [event for _, event in await customers_of(kafka, task.import_id)]
    assert isinstance(published, RangePublished)
    assert (published.event_count, sorted(event.legacy_id for event in events)) == (7, list(range(2, 9)))
    rejected = [(event.legacy_id, event.reasons) for event in events if isinstance(event, LegacyCustomerRejected)]
    assert rejected == [(5, {"row": "unreadable"})]


async def test_the_last_offsets_are_those_of_the_records(serve: Serve, do: Import, kafka: Kafka) -> None:
    task = all_rows(uuid4())
    with serve([customer(key) for key in range(1, ROWS)]) as server:
        [published] = await do(server, task)
    records = await customers_of(kafka, task.import_id)

    assert isinstance(published, RangePublished)
    assert published.last_offsets == {
        number: max(record.offset for record, _ in records if record.partition == number) for number in range(8)
    }


async def test_keys_go_to_the_partitions_that_every_kafka_client_chooses(
    serve: Serve, do: Import, kafka: Kafka
) -> None:
    table = CUSTOMERS.altered("ID", sql_type="bigint")
    keys = [-(2**63), *range(-500, 1500), 2**63 - 1]
    task = RangeRequested(import_id=uuid4(), chunk=0, after_id=None, upto_id=2**63 - 1)
    with serve([customer(key) for key in keys], table) as server:
        await do(server, task)
    records = await customers_of(kafka, task.import_id)

    choose, partitions = DefaultPartitioner(), list(range(topics.LEGACY_CUSTOMERS.partitions))
    assert len(records) == len(keys)
    assert all(record.partition == choose(record.key, partitions, partitions) for record, _ in records)


async def test_an_event_is_the_translated_row_at_the_servers_time(serve: Serve, do: Import, kafka: Kafka) -> None:
    task = all_rows(uuid4(), chunk=5)
    with serve([customer(7)]) as server:
        [published] = await do(server, task)
    [(_, event)] = await customers_of(kafka, task.import_id)

    assert isinstance(published, RangePublished)
    context = Context(
        import_id=task.import_id,
        chunk=5,
        attempt=published.attempt,
        read_at=event.read_at,
        zone=ZoneInfo("UTC"),
        genders={"м": "M"},
    )
    assert event == translate.to_event(LegacyRow(*customer(7)), context)
    assert abs(event.read_at.timestamp() - time.time()) < 60


async def test_a_row_that_cannot_be_selected_is_rejected_and_counted_at_the_first_attempt(
    serve: Serve, do: Import, kafka: Kafka
) -> None:
    task = all_rows(uuid4())
    with serve([customer(key) for key in range(50)]) as server:
        server.make_unreadable(7)
        [published] = await do(server, task)

        assert server.stats.connections_accepted == 1
    events = [event for _, event in await customers_of(kafka, task.import_id)]
    assert isinstance(published, RangePublished)
    assert (published.event_count, len(events)) == (50, 50)
    assert published.fingerprint is None
    rejected = {event.legacy_id: event.reasons for event in events if isinstance(event, LegacyCustomerRejected)}
    assert rejected == {7: {"row": "unreadable"}}


async def test_the_future_begins_at_our_clock_whatever_the_servers_says(serve: Serve, do: Import, kafka: Kafka) -> None:
    task, now = all_rows(uuid4()), datetime.now(UTC).replace(tzinfo=None)
    seen = {1: now + timedelta(minutes=2), 2: now + timedelta(hours=1), 3: now - timedelta(hours=1)}
    with serve([(*customer(key)[:8], at) for key, at in seen.items()], clock=lambda: now + timedelta(days=1)) as server:
        await do(server, task)
    events = {event.legacy_id: event for _, event in await customers_of(kafka, task.import_id)}

    assert {key: event.unusable for key, event in events.items()} == {
        1: None,
        2: {"last_auth_at": "in_the_future"},
        3: None,
    }


async def test_an_empty_range_is_published_without_offsets(serve: Serve, do: Import) -> None:
    task = RangeRequested(import_id=uuid4(), chunk=0, after_id=100, upto_id=200)
    with serve([customer(5)]) as server:
        [published] = await do(server, task)

    assert isinstance(published, RangePublished)
    assert (published.event_count, published.last_offsets) == (0, {})
    assert published.fingerprint == "0:0"
    assert published.basis is not None


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("drop", {"rows": 5_500}),
        ("silent", {"rows": 5_500}),
        ("fail", {"statement": "range", "number": 1205, "severity": 13}),
        ("refuse", {"times": 1}),
    ],
)
async def test_a_fault_costs_one_attempt_and_only_the_next_one_counts(
    serve: Serve, do: Import, kafka: Kafka, fault: str, options: dict[str, Any]
) -> None:
    task = all_rows(uuid4())
    with serve([customer(key) for key in range(ROWS)]) as server:
        server.set_fault(fault, **options)
        answers = await do(server, task)
    records = await customers_of(kafka, task.import_id)

    [retry, published] = answers
    assert isinstance(retry, AttemptFailed)
    assert (retry.chunk, retry.attempt, retry.attempts, retry.retry_seconds) == (0, 1, 3, 0.2)
    assert retry.error.startswith(f"vAptekeSync at {server.host}:{server.port} ")
    assert isinstance(published, RangePublished)
    of_attempt = Counter(event.attempt for _, event in records)
    assert of_attempt[published.attempt] == published.event_count == ROWS
    assert all(count < ROWS for attempt, count in of_attempt.items() if attempt != published.attempt)
    won = [record for record, event in records if event.attempt == published.attempt]
    assert published.last_offsets == {
        number: max(record.offset for record in won if record.partition == number) for number in range(8)
    }


async def test_a_plan_is_retried_too(serve: Serve, do: Import) -> None:
    task = PlanRequested(import_id=uuid4(), rows_per_range=10)
    with serve([customer(1)]) as server:
        server.set_fault("fail", statement="boundaries", number=1205, severity=13)
        [_, retry, planned] = await do(server, task)

    assert isinstance(retry, AttemptFailed)
    assert (retry.chunk, retry.attempt) == (None, 1)
    assert without_clocks(planned) == Planned(import_id=task.import_id, row_count=1, upper_bounds=[1])


@pytest.mark.parametrize("task_kind", [PlanRequested, RangeRequested])
@pytest.mark.parametrize(
    ("fault", "options", "words"),
    [
        ("refuse", {}, "), see SQL Server's error log; attempts: 3"),
        ("silent", {}, "did not answer within 1 s"),
        ("silent", {"statement": "clock", "times": None}, "did not answer within 1 s"),
        ("fail", {"times": None, "number": 1205, "severity": 13}, "error 1205"),
    ],
    ids=["refused", "silent", "silent at a statement", "deadlocks"],
)
async def test_a_fault_without_end_fails_in_the_promised_time(
    serve: Serve, do: Import, task_kind: type[Event], fault: str, options: dict[str, Any], words: str
) -> None:
    import_id, attempts = uuid4(), 3
    task = all_rows(import_id) if task_kind is RangeRequested else PlanRequested(import_id=import_id, rows_per_range=10)
    if task_kind is PlanRequested:
        options = {name: "columns" if name == "statement" else value for name, value in options.items()}
    with serve([customer(1)]) as server:
        server.set_fault(fault, **options)
        # without our own deadline, a silent server is waited for without end: that this returns is the promise
        *retries, failed = await do(server, task, mssql_retries_count=attempts - 1)

        assert isinstance(failed, Failed)
        assert failed.chunk == (0 if task_kind is RangeRequested else None)
        assert failed.error.startswith(f"vAptekeSync at {server.host}:{server.port} ")
    assert words in failed.error
    assert failed.error.endswith("attempts: 3")
    assert len([retry for retry in retries if isinstance(retry, AttemptFailed)]) == attempts - 1


@pytest.mark.parametrize("task_kind", [PlanRequested, RangeRequested])
async def test_a_refused_login_is_tried_once(serve: Serve, do: Import, task_kind: type[Event]) -> None:
    import_id = uuid4()
    task = all_rows(import_id) if task_kind is RangeRequested else PlanRequested(import_id=import_id, rows_per_range=10)
    with serve([customer(1)]) as server:
        started = time.monotonic()
        *_, failed = await do(server, task, vaptekesync_password=SECRET, mssql_retries_sleep=30)

        assert server.stats.logins_refused == server.stats.connections_accepted == 1
    assert time.monotonic() - started < 30, "it paused before another attempt"
    assert isinstance(failed, Failed)
    assert "VAPTEKESYNC_PASSWORD" in failed.error
    assert SECRET not in failed.error


async def test_a_table_that_does_not_fit_is_tried_once(serve: Serve, do: Import) -> None:
    task = PlanRequested(import_id=uuid4(), rows_per_range=10)
    with serve([], CUSTOMERS.without("Email")) as server:
        *_, failed = await do(server, task, mssql_retries_sleep=30)

        assert server.stats.connections_accepted == 1
    assert isinstance(failed, Failed)
    assert "table dbo.Customers has no column Email" in failed.error


async def test_a_view_is_planned_with_a_warning(serve: Serve, do: Import) -> None:
    view = replace(CUSTOMERS, type="VIEW", constraints=())
    with serve([customer(1)], view) as server:
        *_, planned = await do(server, PlanRequested(import_id=uuid4(), rows_per_range=10))

    assert isinstance(planned, Planned)
    assert planned.upper_bounds == [1]
    assert planned.warnings is not None
    assert "dbo.Customers is a view" in planned.warnings[0]


async def test_a_database_in_recovery_is_waited_for_within_the_attempts(serve: Serve, do: Import) -> None:
    with serve([customer(1)]) as server:
        server.set_fault("fail", before="login", number=922, severity=14, times=2)
        *_, planned = await do(server, PlanRequested(import_id=uuid4(), rows_per_range=10), mssql_retries_count=2)

    assert isinstance(planned, Planned)


async def test_a_certificate_that_is_not_trusted_is_tried_once(serve: Serve, do: Import) -> None:
    with serve([customer(1)], encryption=Encryption(tls.context("self-signed"))) as server:
        task = PlanRequested(import_id=uuid4(), rows_per_range=10)
        *_, failed = await do(server, task, vaptekesync_encrypt="yes", mssql_retries_sleep=30)

        assert server.stats.connections_accepted == 1
        assert server.stats.logins_received == 0
    assert isinstance(failed, Failed)
    assert "VAPTEKESYNC_SSLROOTCERT" in failed.error


async def test_a_column_gone_after_the_plan_fails_the_range_at_once(serve: Serve, do: Import) -> None:
    task = all_rows(uuid4())
    with serve([], CUSTOMERS.without("Email")) as server:
        [failed] = await do(server, task, mssql_retries_sleep=30)

        assert server.stats.connections_accepted == 1
    assert isinstance(failed, Failed)
    assert "a column does not exist (error 207)" in failed.error


async def test_a_text_too_long_for_the_contract_is_cut(serve: Serve, do: Import) -> None:
    columns = {"email": "Email" * 500}
    with serve() as server:
        *_, failed = await do(server, PlanRequested(import_id=uuid4(), rows_per_range=10), vaptekesync_columns=columns)

    assert isinstance(failed, Failed)
    assert len(failed.error) == 2000


async def test_after_a_failed_range_the_others_of_its_import_fail_without_an_attempt(serve: Serve, do: Import) -> None:
    doomed, other = uuid4(), uuid4()
    with serve([customer(1)]) as server:
        server.set_fault("refuse", times=2)
        tasks = [all_rows(doomed, 0), all_rows(doomed, 1), all_rows(doomed, 2)]
        answers = await do(server, *tasks, mssql_retries_count=1)
        accepted = server.stats.connections_accepted
        [published] = await do(server, all_rows(other), mssql_retries_count=1)

    assert [(type(answer), answer.chunk) for answer in answers if isinstance(answer, Failed)] == [
        (Failed, 0),
        (Failed, 1),
        (Failed, 2),
    ]
    assert len({answer.error for answer in answers if isinstance(answer, Failed)}) == 1
    assert accepted == 2
    assert isinstance(published, RangePublished)


async def test_another_import_is_tried_after_a_failed_one(serve: Serve, do: Import, kafka: Kafka) -> None:
    doomed, next_one = uuid4(), uuid4()
    with serve([customer(1)]) as server:
        server.set_fault("refuse", times=1)
        [failed] = await do(server, all_rows(doomed), all_rows(next_one), mssql_retries_count=0)

    assert isinstance(failed, Failed)
    [published] = await progress_of(kafka, next_one)
    assert isinstance(published, RangePublished)


async def test_a_stop_between_attempts_leaves_the_task_to_the_next_importer(
    serve: Serve, settings_for: SettingsFor, kafka: Kafka
) -> None:
    task, stopping = all_rows(uuid4()), asyncio.Event()
    with serve([customer(1)]) as server:
        server.set_fault("refuse")
        settings = settings_for(server, kafka_bootstrap_servers=kafka.bootstrap, mssql_retries_sleep=60)
        publisher = Publisher(settings)
        doing = asyncio.create_task(Importer(settings, publisher, stopping).do(task))
        while not server.stats.connections_refused:
            await asyncio.sleep(0.01)

        stopping.set()
        with pytest.raises(ShuttingDown):
            await asyncio.wait_for(doing, 5)
        await publisher.close()

    assert {type(event) for event in await progress_of(kafka, task.import_id)} <= {AttemptFailed}


def faults_of(event: LegacyCustomerRead | LegacyCustomerRejected) -> dict[legacy_customers.Field, str] | None:
    return event.reasons if isinstance(event, LegacyCustomerRejected) else event.unusable


async def test_a_row_that_nothing_can_be_made_of_does_not_hold_up_its_range(
    serve: Serve, do: Import, kafka: Kafka
) -> None:
    table = CUSTOMERS.altered("FirstName", sql_type="nvarchar(400)")
    whole, half = "Ян😀".encode("utf-16-le"), "Ян\ud83dX".encode("utf-16-le", "surrogatepass")
    task = all_rows(uuid4())
    rows = [(1, "89071112233", "a\0b"), (2, "89071112234", "Ян😀"), (3, "8\0", None), (4, "89071112235", "Ян")]
    with serve([(*row, *[None] * 6) for row in rows], table) as server:
        # a nvarchar column cuts a surrogate pair in two; the stand-in's own encoder does not
        server.rows._rows[1] = server.rows._rows[1].replace(whole, half)
        [published] = await do(server, task)
    made = {event.legacy_id: event for _, event in await customers_of(kafka, task.import_id)}

    assert isinstance(published, RangePublished)
    assert {key: faults_of(event) for key, event in made.items()} == {
        1: {"firstname": "has_a_zero_character"},
        2: {"firstname": "has_half_a_character"},
        3: {"phone": "not_digits"},
        4: None,
    }


async def test_no_attempt_leaves_a_connection_behind(
    serve: Serve, do: Import, eventually: Callable[..., Awaitable[None]]
) -> None:
    with serve([customer(key) for key in range(ROWS)]) as server:
        server.set_fault("silent", rows=5_500, times=2)
        await do(server, all_rows(uuid4()))

        await eventually(lambda: server.stats.connections_open == 0 and connection.abandoned._value.get() == 0)
