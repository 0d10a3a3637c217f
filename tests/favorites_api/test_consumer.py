"""Customer events as Kafka may deliver them: in any order, twice, in any batches, compacted, and with garbage."""

import asyncio
import itertools
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import databases
import httpx
import msgspec
import pytest
from aiokafka import ConsumerRecord
from favorites_api import deleted_customers, favorites
from favorites_api.consumer import CustomersConsumer
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import (
    CustomerCreated,
    CustomerDeleted,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
)
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import WorkSettings

URL = "/rest/v1/favorites/"
CLUSTER = Cluster("a-cluster", {})
TOPIC = topics.CUSTOMERS.name
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LAST = 2**63 - 1

Histories = dict[int, list[CustomerEvent]]


@pytest.fixture
def consumer(settings: WorkSettings, pool: asyncpg.Pool) -> CustomersConsumer:
    return CustomersConsumer(settings, pool, Health())


def customer_event(
    kind: type[CustomerEvent], customer_id: int, version: int, changed: Sequence[Any] = (), **fields: Any
) -> CustomerEvent:
    """An event as customers-api sends it."""
    event = kind(
        id=customer_id,
        version=version,
        origin="api",
        changed=list(changed),
        phone="79025163111",
        firstname="Виктор",
        lastname="Иванов",
        email="user@example.com",
        birthday=None,
        gender="M",
        city_id=0,
        last_auth_at=None,
        created_at=AT,
        updated_at=AT,
        deleted_at=None,
    )
    return msgspec.structs.replace(event, **fields)


def created(customer_id: int) -> CustomerEvent:
    return customer_event(CustomerCreated, customer_id, 1, ["phone", "firstname"])


def updated(customer_id: int, version: int) -> CustomerEvent:
    return customer_event(CustomerUpdated, customer_id, version, ["lastname"])


def deleted(customer_id: int, version: int) -> CustomerEvent:
    return customer_event(CustomerDeleted, customer_id, version, ["deleted_at"], deleted_at=AT)


def restored(customer_id: int, version: int) -> CustomerEvent:
    return customer_event(CustomerRestored, customer_id, version, ["deleted_at"])


def record(
    event: CustomerEvent | bytes | None, offset: int, partition: int = 0, key: bytes | None = b""
) -> ConsumerRecord:
    """As the consumer gets it; bytes stand for a value that is no event, None for an erasure."""
    is_event = isinstance(event, CustomerEvent)
    return ConsumerRecord(
        topic=TOPIC,
        partition=partition,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        key=str(event.id).encode() if is_event else key,
        value=codec.encode(event) if is_event else event,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=[("ce_type", event.type.encode())] if is_event else [],
    )


def records(given: Iterable[CustomerEvent], first_offset: int = 0, partition: int = 0) -> list[ConsumerRecord]:
    return [record(event, first_offset + place, partition) for place, event in enumerate(given)]


def erasure(customer_id: int, offset: int) -> ConsumerRecord:
    return record(None, offset, key=str(customer_id).encode())


async def add(client: httpx.AsyncClient, user_id: int, item_id: int) -> httpx.Response:
    return await client.post(URL, json={"user_id": user_id, "item_id": item_id})


async def listed(client: httpx.AsyncClient) -> list[tuple[int, int]]:
    items = (await client.get(URL, params={"limit": 1000})).json()["items"]
    return [(item["user_id"], item["item_id"]) for item in items]


async def known(pool: asyncpg.Pool) -> dict[int, tuple[int, bool]]:
    """By customer: the version of its row, and whether its favorites are hidden."""
    rows = await pool.fetch("SELECT customer_id, version, deleted_at IS NOT NULL FROM deleted_customers")
    return {row[0]: (row[1], row[2]) for row in rows}


async def hidden(pool: asyncpg.Pool) -> set[int]:
    return {customer_id for customer_id, (_, is_hidden) in (await known(pool)).items() if is_hidden}


def counted() -> float:
    return REGISTRY.get_sample_value("vapteke_passed_over_records_total", {"topic": TOPIC}) or 0


# What the events do to favorites


async def test_a_deletion_hides_and_a_restoration_shows_again(
    consumer: CustomersConsumer, client: httpx.AsyncClient
) -> None:
    before = [(await add(client, customer_id, 10)).json() for customer_id in (1, 2)]

    await consumer.apply(records([created(1), created(2), deleted(1, 2)]), CLUSTER, {})
    meanwhile, refused = await listed(client), await add(client, 1, 11)
    await consumer.apply(records([restored(1, 3)], 3), CLUSTER, {})

    assert (meanwhile, refused.status_code) == ([(2, 10)], 404)
    assert (await client.get(URL)).json() == {"items": before, "count": 2}


async def test_a_person_who_was_erased_has_no_favorites_ever_again(
    consumer: CustomersConsumer, client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    for customer_id in (1, 2, LAST):
        await add(client, customer_id, 10)
    history = records([created(1), deleted(1, 2), restored(1, 3), updated(1, 4), created(LAST)])
    await consumer.apply([*history, erasure(1, 5), erasure(LAST, 6)], CLUSTER, {})

    await _reset_offsets(pool)
    await consumer.apply([*history, record(updated(1, LAST - 1), 5)], CLUSTER, {})
    async with pool.acquire() as connection:
        await deleted_customers.erase_favorites(connection)

    assert await pool.fetch("SELECT user_id FROM favorites") == [(2,)]
    assert [(await add(client, customer_id, 11)).status_code for customer_id in (1, LAST)] == [404, 404]
    assert (await client.get(URL)).json()["count"] == 1


async def test_a_favorite_that_was_being_added_during_an_erasure_goes_too(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    async with pool.acquire() as slow, pool.acquire() as sweep:
        async with slow.transaction():
            await favorites.add(slow, 1, [10])
            await consumer.apply([erasure(1, 0)], CLUSTER, {})
            await deleted_customers.erase_favorites(sweep)

        await deleted_customers.erase_favorites(sweep)

        assert await sweep.fetchval("SELECT count(*) FROM favorites") == 0


async def test_an_erasure_wins_over_what_stands_beside_it_in_the_batch(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    batch = [erasure(1, 0), record(restored(1, 7), 1), record(restored(2, 7), 2), erasure(2, 3)]

    await consumer.apply(batch, CLUSTER, {})

    assert await known(pool) == {1: (LAST, True), 2: (LAST, True)}


async def test_an_import_writes_no_row(consumer: CustomersConsumer, pool: asyncpg.Pool) -> None:
    await consumer.apply(records(created(number) for number in range(1, 1_001)), CLUSTER, {})
    await consumer.apply(records((updated(number, 2) for number in range(1, 1_001)), 1_000), CLUSTER, {})

    assert await pool.fetchval("SELECT pg_relation_size('deleted_customers')") == 0  # nor has any been there


async def test_updates_of_a_restored_customer_write_no_row(consumer: CustomersConsumer, pool: asyncpg.Pool) -> None:
    await consumer.apply(records([deleted(1, 2), restored(1, 3)]), CLUSTER, {})
    before = await pool.fetch("SELECT ctid, xmin, * FROM deleted_customers")

    await consumer.apply(records([updated(1, 4), updated(1, 5)], 2), CLUSTER, {})

    assert await pool.fetch("SELECT ctid, xmin, * FROM deleted_customers") == before


async def test_a_batch_is_one_transaction(consumer: CustomersConsumer, pool: asyncpg.Pool) -> None:
    turns = [deleted(number, 2) for number in range(1, 11)]
    batch = [record(event, 0, partition=number % 8) for number, event in enumerate(turns[:8])]

    await consumer.apply([*batch, *records(turns[8:], 1, partition=7)], CLUSTER, {})

    written = await pool.fetch("SELECT xmin FROM deleted_customers UNION ALL SELECT xmin FROM consumed_offsets")
    assert (len(written), len(set(written))) == (18, 1)


# Order, repetition, compaction


def _history(customer_id: int, chance: random.Random) -> list[CustomerEvent]:
    """What customers-api may tell of one customer: a deleted one is restored before anything else happens to it."""
    history = [created(customer_id)]
    for version in range(2, chance.randrange(2, 10)):
        if history[-1].deleted_at is not None:
            history.append(restored(customer_id, version))
        else:
            history.append(chance.choice([deleted, updated])(customer_id, version))
    return history


def _histories(seed: int) -> Histories:
    chance = random.Random(seed)
    return {customer_id: _history(customer_id, chance) for customer_id in range(1, 201)}


def _deleted_in(histories: Histories) -> set[int]:
    """The plain model: a customer is what its greatest version says."""
    newest = (max(history, key=lambda event: event.version) for history in histories.values())
    return {event.id for event in newest if event.deleted_at is not None}


def _together(lanes: Iterable[Sequence[CustomerEvent]], chance: random.Random) -> list[CustomerEvent]:
    """One stream in which each lane keeps its order."""
    lanes = [list(lane) for lane in lanes]
    turns = [number for number, lane in enumerate(lanes) for _ in lane]
    chance.shuffle(turns)
    return [lanes[number].pop(0) for number in turns]


async def _deliver(consumer: CustomersConsumer, stream: Sequence[CustomerEvent], chance: random.Random) -> None:
    """In batches cut anywhere; now and then Kafka delivers one twice."""
    cuts = sorted({0, len(stream), *(chance.randrange(len(stream)) for _ in range(20))})
    for start, end in itertools.pairwise(cuts):
        for _ in range(chance.choice([1, 1, 2])):
            await consumer.apply(records(stream[start:end], start), CLUSTER, {})


async def _reset_offsets(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await stored_offsets.reset(connection)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_in_whatever_order_all_events_come_the_greatest_version_decides(
    consumer: CustomersConsumer, pool: asyncpg.Pool, seed: int
) -> None:
    chance, histories = random.Random(seed), _histories(seed)
    stream = [event for history in histories.values() for event in history * 2]
    chance.shuffle(stream)

    await _deliver(consumer, stream, chance)

    assert await hidden(pool) == _deleted_in(histories)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_compaction_and_replays_leave_what_the_greatest_version_says(
    consumer: CustomersConsumer, pool: asyncpg.Pool, seed: int
) -> None:
    """A customer's events in their order, each time others of them removed but never the last, from the start again."""
    chance, histories = random.Random(seed), _histories(seed)
    for _ in range(3):
        left = [[e for e in history[:-1] if chance.random() < 0.5] + history[-1:] for history in histories.values()]
        stream = _together(left, chance)
        await _deliver(consumer, stream[: chance.randrange(1, len(stream))], chance)
        await _reset_offsets(pool)

        await _deliver(consumer, stream, chance)
        await _reset_offsets(pool)

        assert await hidden(pool) == _deleted_in(histories)


async def test_a_replay_shows_nobody_who_is_deleted_and_hides_nobody_who_lives(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    histories = _histories(5)
    stream = _together(histories.values(), random.Random(5))
    await consumer.apply(records(stream), CLUSTER, {})
    before = await pool.fetch("SELECT ctid, xmin, * FROM deleted_customers ORDER BY 1")
    await _reset_offsets(pool)

    for place, event in enumerate(stream):
        await consumer.apply([record(event, place)], CLUSTER, {})

    assert await pool.fetch("SELECT ctid, xmin, * FROM deleted_customers ORDER BY 1") == before


# What cannot be understood

_GOOD = codec.encode(deleted(77, 2))
_FIELDS = msgspec.json.decode(_GOOD)


def _with(**fields: object) -> bytes:
    return msgspec.json.encode({**_FIELDS, **fields})


RUBBISH = {
    "nothing": b"",
    "no JSON": b"\xff\x00" + "Виктор".encode(),
    "cut off": _GOOD[:-1],
    "two at once": _GOOD * 2,
    "null": b"null",
    "a list": b"[" + _GOOD + b"]",
    "a bare name": '"Виктор"'.encode(),
    "5 MB of digits": b"5" * 5_000_000,
    "deeper than can be read": b'{"x":' * 1_000_000,
    "half a surrogate": _with(changed=[]).replace(b"[]", rb'["\ud800"]'),
    "no text": _with(changed=[]).replace(b"[]", b'["\xff"]'),
    **{
        f"no {name}": msgspec.json.encode({key: value for key, value in _FIELDS.items() if key != name})
        for name in ("id", "version", "changed", "deleted_at")
    },
    **{f"id {wrong!r}": _with(id=wrong) for wrong in (0, -1, 2**63, 10**40, "77", "Виктор", 77.0, True, None, [77])},
    **{f"version {wrong!r}": _with(version=wrong) for wrong in (0, -1, LAST, 10**40, "2", 2.5, True, None)},
    **{f"changed {wrong!r}": _with(changed=wrong) for wrong in (None, "deleted_at", {"deleted_at": 1}, [1])},
    **{
        f"deleted_at {wrong!r}": _with(deleted_at=wrong)
        for wrong in (
            True,
            1767323045,
            "Виктор",
            "2026-01-02T03:04:05",
            "0000-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-14:00",
            "0001-01-01T00:00:00+14:00",
        )
    },
}


async def test_what_cannot_be_understood_is_passed_over_and_its_neighbours_are_applied(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    values = list(RUBBISH.values())
    batch = [
        each
        for n, value in enumerate(values)
        for each in (record(value, 2 * n), record(deleted(1_000 + n, 2), 2 * n + 1))
    ]
    before = counted()

    with capture_logs() as logged:
        await consumer.apply(batch, CLUSTER, {})

    assert await hidden(pool) == {1_000 + n for n in range(len(values))}
    assert [line.pop("reason") for line in logged].count("ValidationError") > 20
    origins = [f"{TOPIC}/0/{2 * n}" for n in range(len(values))]
    line = {"event": "skipped a record that cannot be decoded", "log_level": "error"}
    assert logged == [{**line, "origin": origin} for origin in origins]
    assert counted() - before == len(values)


@pytest.mark.parametrize(
    "key", [None, b"", b"0", b"-1", b"077", b"1.5", b"Viktor", b"\xff", b"9223372036854775808", b"7" * 5_000]
)
async def test_a_null_value_whose_key_is_no_customer_erases_nobody(
    consumer: CustomersConsumer, pool: asyncpg.Pool, key: bytes | None
) -> None:
    before = counted()

    await consumer.apply([record(None, 0, key=key), record(deleted(1, 2), 1)], CLUSTER, {})

    assert (await known(pool), counted() - before) == ({1: (2, True)}, 1)


async def test_a_skipped_record_is_reported_after_the_commit(
    consumer: CustomersConsumer, postgres_server: Postgres, database_name: str
) -> None:
    batch, before = [record(b"rubbish", 0), record(deleted(1, 2), 1)], counted()
    owner = await asyncpg.connect(postgres_server.dsn_of(database_name))

    await owner.execute("ALTER TABLE favorites.deleted_customers RENAME TO away")
    with capture_logs() as rolled_back, pytest.raises(asyncpg.UndefinedTableError):
        await consumer.apply(batch, CLUSTER, {})
    counted_early = counted() - before
    await owner.execute("ALTER TABLE favorites.away RENAME TO deleted_customers")
    await owner.close()
    with capture_logs() as committed:
        await consumer.apply(batch, CLUSTER, {})

    assert (rolled_back, counted_early) == ([], 0)
    assert ([line["origin"] for line in committed], counted() - before) == ([f"{TOPIC}/0/0"], 1)


async def test_events_spoilt_anywhere_never_hold_up_the_others(consumer: CustomersConsumer, pool: asyncpg.Pool) -> None:
    chance = random.Random(1)
    spoilt = [record(_spoilt(_GOOD, chance), offset) for offset in range(20_000)]

    await consumer.apply([*spoilt, record(deleted(1, 2), 20_000)], CLUSTER, {})

    assert 1 in await hidden(pool)


def _spoilt(value: bytes, chance: random.Random) -> bytes:
    """Some bytes are others, mostly digits, so that much is still an event."""
    spoilt = bytearray(value)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(spoilt))
        spoilt[at : at + chance.randrange(3)] = chance.choice([b"0", b"9" * 20, b"-", b"[", b'"', chance.randbytes(1)])
    return bytes(spoilt)


@pytest.mark.parametrize("at", [datetime.min, datetime.max])
async def test_any_instant_and_the_greatest_numbers_fit(
    consumer: CustomersConsumer, pool: asyncpg.Pool, at: datetime
) -> None:
    event = msgspec.structs.replace(deleted(LAST, LAST - 1), deleted_at=at.replace(tzinfo=UTC))

    await consumer.apply(records([event]), CLUSTER, {})

    assert await known(pool) == {LAST: (LAST - 1, True)}


async def test_the_state_counts_whatever_the_type_and_whatever_else_a_newer_producer_says(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    batch = [record(deleted(1, 2), 0), record(deleted(2, 2), 1), record(_with(id=3, hobbies=["x" * 500_000]), 2)]
    batch[0].headers = [("ce_type", b"vapteke.customer.merged")]
    batch[1].headers = [("x", b"\xff\xfe")]

    await consumer.apply(batch, CLUSTER, {})

    assert await hidden(pool) == {1, 2, 3}


async def test_an_event_that_names_a_field_of_a_newer_producer_is_applied(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    event = customer_event(CustomerDeleted, 1, 2, ["deleted_at", "loyalty_card"], deleted_at=AT)

    await consumer.apply(records([event]), CLUSTER, {})

    assert await hidden(pool) == {1}


# The place in Kafka


async def test_the_same_batch_twice_is_applied_once(consumer: CustomersConsumer, pool: asyncpg.Pool) -> None:
    batch = records([deleted(1, 2), deleted(2, 2)])
    await consumer.apply(batch, CLUSTER, {})
    await pool.execute("DELETE FROM deleted_customers")

    await consumer.apply(batch, CLUSTER, {})
    await consumer.apply([*batch, record(deleted(3, 2), 2)], CLUSTER, {})

    assert await hidden(pool) == {3}
    assert await pool.fetchval("SELECT next_offset FROM consumed_offsets") == 3


async def test_a_batch_above_the_stored_offset_is_read_again_from_there(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    batch = [*records([deleted(1, 2)], first_offset=5), *records([deleted(2, 2)], partition=1)]

    with pytest.raises(stored_offsets.AheadOfStoredOffset) as ahead:
        await consumer.apply(batch, CLUSTER, {})

    assert ahead.value.partitions == {Partition(TOPIC, 0)}
    assert await known(pool) == {}


async def test_a_gap_that_compaction_has_made_is_accepted_once_a_seek_has_found_it(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    await consumer.apply(records([deleted(1, 2)], first_offset=5), CLUSTER, {Partition(TOPIC, 0): 0})

    assert await hidden(pool) == {1}
    assert await pool.fetchval("SELECT next_offset FROM consumed_offsets") == 6


async def test_another_kafka_is_refused_until_the_places_are_forgotten(
    consumer: CustomersConsumer, pool: asyncpg.Pool, settings: WorkSettings
) -> None:
    await consumer.apply(records([deleted(1, 2)]), CLUSTER, {})
    with pytest.raises(stored_offsets.KafkaReplaced):
        await consumer.apply(records([deleted(2, 2)]), Cluster("another-cluster", {}), {})

    await databases.run_command(settings, "favorites-api", "offsets", "reset")

    await consumer.apply(records([deleted(2, 2)]), Cluster("another-cluster", {}), {})
    assert await hidden(pool) == {1, 2}


async def test_a_connection_lost_in_mid_batch_leaves_neither_effect_nor_place(
    consumer: CustomersConsumer, pool: asyncpg.Pool
) -> None:
    batch = [record(deleted(1, 2), 0), erasure(2, 1)]

    async with pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE deleted_customers")  # which the batch comes to behind its places
        task = asyncio.create_task(consumer.apply(batch, CLUSTER, {}))
        async with asyncio.timeout(120):
            while not await pool.fetchval(_LOSE_WHO_WAITS):
                await asyncio.sleep(0.01)
    with pytest.raises(asyncpg.InterfaceError):
        await task
    left = await known(pool), await pool.fetch("SELECT FROM consumed_offsets")
    await consumer.apply(batch, CLUSTER, {})

    assert left == ({}, [])
    assert await hidden(pool) == {1, 2}


_LOSE_WHO_WAITS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
