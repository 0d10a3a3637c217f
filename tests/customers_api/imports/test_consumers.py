"""What Kafka may do to a batch: twice, shuffled, with rubbish in it, from the wrong place."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from aiokafka import ConsumerRecord
from customers_api.app import reset_offsets
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from legacy_events import CLUSTER, Attempt, counts, end_import, people_of, record, records, start_import
from vapteke_local import people
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.imports import AttemptFailed
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health

PHONES = [f"7902516{number:04d}" for number in range(100)]
LEGACY = topics.LEGACY_CUSTOMERS.name


async def test_the_same_batch_twice_is_applied_once(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    batch = records([attempt.read(1, PHONES[1]), attempt.rejected(2), attempt.read(3, PHONES[3])])
    await consumers.apply_legacy(batch, CLUSTER, {})

    await consumers.apply_legacy(batch, CLUSTER, {})

    assert await counts(pool) == {"created": 2, "rejected": 1}
    assert await pool.fetchval("SELECT count(*) FROM import_rejections") == 1


async def test_a_batch_that_overlaps_what_was_done_applies_the_rest(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    batch = records([attempt.read(number, PHONES[number]) for number in range(10)])
    await consumers.apply_legacy(batch[:6], CLUSTER, {})

    await consumers.apply_legacy(batch[3:], CLUSTER, {})

    assert await counts(pool) == {"created": 10}


async def test_a_batch_above_the_stored_offset_is_not_applied(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    batch = records([Attempt(running).read(1, PHONES[1])], first_offset=5)

    with pytest.raises(stored_offsets.AheadOfStoredOffset) as ahead:
        await consumers.apply_legacy(batch, CLUSTER, {})

    assert ahead.value.partitions == {Partition(LEGACY, 0)}
    assert await people_of(pool) == {}


async def test_when_one_partition_is_ahead_all_of_the_batch_are_read_again(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    ahead = records([attempt.read(1, PHONES[1])], first_offset=5, partition=0)
    in_place = records([attempt.read(2, PHONES[2])], partition=1)

    with pytest.raises(stored_offsets.AheadOfStoredOffset) as refused:
        await consumers.apply_legacy([*ahead, *in_place], CLUSTER, {})

    assert refused.value.partitions == {Partition(LEGACY, 0)}


async def test_a_value_that_the_driver_cannot_encode_is_rejected_alone(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    impossible = datetime.max.replace(tzinfo=timezone(-timedelta(hours=14)))
    events = [attempt.read(1, PHONES[1]), attempt.read(2, PHONES[2], last_auth_at=impossible)]

    await consumers.apply_legacy(records(events), CLUSTER, {})

    assert await counts(pool) == {"created": 1, "rejected": 1}


async def test_a_date_that_would_be_infinity_is_rejected_alone(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt, first = Attempt(running), datetime.min.replace(tzinfo=UTC)
    endless = [{"birthday": date.max}, {"birthday": date.min}, {"last_auth_at": first}, {"read_at": first}]
    read = [attempt.read(number, PHONES[number]) for number in range(5)]
    events = [msgspec.structs.replace(event, **fields) for event, fields in zip(read, [{}, *endless], strict=True)]

    await consumers.apply_legacy(records(events), CLUSTER, {})

    assert await counts(pool) == {"created": 1, "rejected": 3}
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = $1", topics.LEGACY_CUSTOMERS_DEAD.name) == 1
    assert await pool.fetchval("SELECT count(*) FROM customers") == 1


@pytest.mark.parametrize(
    "read_at", [datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))]
)
async def test_an_impossible_time_of_reading_costs_only_its_own_record(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, read_at: datetime
) -> None:
    attempt = Attempt(running)
    forged = msgspec.structs.replace(attempt.read(2, PHONES[2]), read_at=read_at)

    await consumers.apply_legacy(records([attempt.read(1, PHONES[1]), forged, attempt.read(3, PHONES[3])]), CLUSTER, {})

    assert await counts(pool) == {"created": 2}
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = $1", topics.LEGACY_CUSTOMERS_DEAD.name) == 1


async def test_an_infinite_sign_in_of_an_earlier_release_gives_way_to_the_rows_own(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    signed_in = datetime(2025, 1, 2, tzinfo=UTC)
    await consumers.apply_legacy(records([Attempt(running).read(1, PHONES[1])]), CLUSTER, {})
    await end_import(pool)
    for table in ("customers", "legacy_customers"):
        await pool.execute(f"UPDATE {table} SET last_auth_at = 'infinity'")
    row = Attempt(await start_import(pool)).read(1, PHONES[1], last_auth_at=signed_in)

    await consumers.apply_legacy(records([row], first_offset=1), CLUSTER, {})

    assert await pool.fetchval("SELECT last_auth_at FROM customers") == signed_in
    assert await pool.fetchval("SELECT last_auth_at FROM legacy_customers") == signed_in


async def test_a_gap_is_accepted_once_a_seek_has_found_it(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    batch = records([Attempt(running).read(1, PHONES[1])], first_offset=5)

    await consumers.apply_legacy(batch, CLUSTER, {Partition(LEGACY, 0): 0})

    assert await counts(pool) == {"created": 1}
    assert await pool.fetchval("SELECT next_offset FROM consumed_offsets") == 6


async def test_another_kafka_is_refused_until_the_places_are_forgotten(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    batch = records([Attempt(running).read(1, PHONES[1])])
    await consumers.apply_legacy(batch, CLUSTER, {})
    with pytest.raises(stored_offsets.KafkaReplaced):
        await consumers.apply_legacy(batch, Cluster("another-cluster", {}), {})

    async with pool.acquire() as connection, connection.transaction():
        await reset_offsets(connection)

    await consumers.apply_legacy(batch, Cluster("another-cluster", {}), {})
    job = await pool.fetchrow("SELECT status, error FROM imports")
    assert tuple(job) == ("failed", "Kafka was replaced")


async def test_a_restart_in_between_goes_on_where_it_was(
    settings: WorkSettings, consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    batch = records([attempt.read(number, PHONES[number]) for number in range(10)])
    await consumers.apply_legacy(batch[:5], CLUSTER, {})

    async with pools.create_pool(settings, SCHEMA, 2) as restarted:
        await ImportConsumers(settings, restarted, Health()).apply_legacy(batch, CLUSTER, {})

    assert await counts(pool) == {"created": 10}


async def test_rubbish_goes_to_the_dead_topic_and_its_neighbours_are_applied(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    good = [attempt.read(number, PHONES[number]) for number in range(4)]
    wrong = b'{"phone": 7, "firstname": "\xd0\x92\xd0\xb8\xd0\xba\xd1\x82\xd0\xbe\xd1\x80"}'
    batch = records([good[0], b"\xff\x00rubbish", good[1], wrong, good[2], None, b"5" * 200_000, good[3]])
    batch[4].headers = [*batch[4].headers, ("x", b"\xff\xfe")]

    await consumers.apply_legacy(batch, CLUSTER, {})

    assert await counts(pool) == {"created": 4}
    letters = await pool.fetch("SELECT topic, headers::text, value FROM outbox WHERE topic LIKE '%dead%' ORDER BY id")
    headers = [msgspec.json.decode(letter["headers"]) for letter in letters]
    assert [header["offset"] for header in headers] == ["1", "3", "5", "6"]
    assert [len(letter["value"]) for letter in letters] == [9, len(wrong), 0, 65536]
    assert not any("Виктор" in header["reason"] for header in headers)


async def test_what_postgres_refuses_is_rejected_alone(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    events = [attempt.read(number, PHONES[number]) for number in range(20)]
    events[7] = attempt.read(7, PHONES[7], firstname="Вик\0тор")
    events[13] = attempt.read(13, PHONES[13], lastname="\0")

    await consumers.apply_legacy(records(events), CLUSTER, {})

    assert await counts(pool) == {"created": 18, "rejected": 2}
    rows = await pool.fetch("SELECT legacy_id, kind, field, reason FROM import_rejections ORDER BY 1")
    assert [tuple(row) for row in rows] == [(7, "row", "row", "refused_22021"), (13, "row", "row", "refused_22021")]


async def test_a_row_whose_rejection_is_refused_as_well_becomes_a_dead_letter(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, postgres_server: Postgres, database_name: str
) -> None:
    owner = await asyncpg.connect(postgres_server.dsn_of(database_name))
    await owner.execute("ALTER TABLE customers.import_rejections ADD CHECK (legacy_id <> 1)")
    await owner.close()
    attempt = Attempt(running)
    bad = attempt.read(1, PHONES[1], lastname="\0")

    await consumers.apply_legacy(records([attempt.read(0, PHONES[0]), bad, attempt.read(2, PHONES[2])]), CLUSTER, {})

    assert await counts(pool) == {"created": 2}
    reasons = await pool.fetch("SELECT headers->>'reason' FROM outbox WHERE topic LIKE '%dead%'")
    assert [row[0] for row in reasons] == [f"the database rejects its data: {bad.type}"]


def _partitions(events: Sequence[LegacyCustomerRead]) -> list[list[ConsumerRecord]]:
    lanes: list[list[Any]] = [[] for _ in range(4)]
    for event in events:
        lanes[event.legacy_id % 4].append(event)
    return [records(lane, partition=number) for number, lane in enumerate(lanes)]


async def _deliver_shuffled(
    consumers: ImportConsumers, lanes: list[list[ConsumerRecord]], chance: random.Random
) -> None:
    """Any batches, in any order between partitions, in order within one; now and then one twice."""
    lanes = [list(lane) for lane in lanes]
    while any(lanes):
        batch = [lane.pop(0) for lane in lanes for _ in range(chance.randrange(30)) if lane]
        if batch:
            await consumers.apply_legacy(batch, CLUSTER, {})
        if batch and chance.random() < 0.2:
            await consumers.apply_legacy(batch, CLUSTER, {})


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_in_any_order_the_phones_belong_to_the_same_owners(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID, seed: int
) -> None:
    chance = random.Random(seed)
    labelled = [pair for pair in people.labelled(seed, 1_500) if pair[1].verdict == "created"]
    attempt = Attempt(running)
    events = [
        attempt.read(
            person.id,
            expected.phone or "",
            last_auth_at=person.last_auth_at and person.last_auth_at.replace(tzinfo=UTC),
        )
        for person, expected in labelled
    ]

    await _deliver_shuffled(consumers, _partitions(events), chance)

    owners = {row: person[0] for row, person in (await people_of(pool)).items()}
    assert owners == {p.id: None if expected.rival is not None else expected.phone for p, expected in labelled}
    assert await counts(pool) == {"created": len(labelled)}


async def test_two_consumers_at_once_deliver_the_same_state(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    attempt = Attempt(running)
    rivals = [attempt.read(number, PHONES[number % 50]) for number in range(2_000)]
    lanes = _partitions(rivals)

    await _together(consumers, lanes)

    owners = {row: person[0] for row, person in (await people_of(pool)).items() if person[0]}
    assert owners == {number: PHONES[number % 50] for number in range(1_950, 2_000)}
    assert await counts(pool) == {"created": 2_000}


async def _together(consumers: ImportConsumers, lanes: list[list[ConsumerRecord]]) -> None:
    async def drain(lane: list[ConsumerRecord]) -> None:
        for start in range(0, len(lane), 100):
            await consumers.apply_legacy(lane[start : start + 100], CLUSTER, {})

    await asyncio.gather(*(drain(lane) for lane in lanes))


async def test_a_progress_event_that_is_rubbish_is_buried_and_the_next_is_done(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    published = Attempt(running).published(3, {0: 2})
    topic = topics.IMPORT_PROGRESS.name

    await consumers.apply_progress([record(b"rubbish", 0, topic=topic), record(published, 1, topic=topic)], CLUSTER, {})

    assert await pool.fetchval("SELECT status FROM import_chunks") == "published"
    assert await pool.fetchval("SELECT key FROM outbox WHERE topic LIKE '%dead%'") == f"{topic}/0/0"


async def test_a_progress_event_that_the_database_refuses_becomes_a_dead_letter(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    refused = AttemptFailed(import_id=running, chunk=0, attempt=1, attempts=3, error="", retry_seconds=1e300)
    published = Attempt(running).published(3, {0: 2})
    topic = topics.IMPORT_PROGRESS.name

    await consumers.apply_progress([record(refused, 0, topic=topic), record(published, 1, topic=topic)], CLUSTER, {})

    assert await pool.fetchval("SELECT status FROM import_chunks") == "published"
    reasons = await pool.fetch("SELECT headers->>'reason' FROM outbox WHERE topic LIKE '%dead%'")
    assert [row[0] for row in reasons] == [f"the database rejects its data: {refused.type}"]
