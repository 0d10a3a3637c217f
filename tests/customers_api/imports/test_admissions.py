"""Which events count: of the import that is alive, of what was handed out, and what a forger can do with the rest."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from customers_api.imports import admissions, writes
from customers_api.imports.admissions import Admission, Range
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from legacy_events import CLUSTER, Attempt, counts, end_import, people_of, record, records, start_import
from prometheus_client import REGISTRY
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import Failed, Planned, PlanStarted, RangePublished
from vapteke_shared.process.health import Health

PHONE, OTHER = "79025163111", "79025163112"
FAR = datetime(9998, 12, 31, tzinfo=UTC)


async def deliver(consumers: ImportConsumers, pool: asyncpg.Pool, *events: Event) -> None:
    first = await pool.fetchval("SELECT coalesce(max(next_offset), 0) FROM consumed_offsets WHERE topic ~ 'legacy'")
    await consumers.apply_legacy(records(events, first), CLUSTER, {})


async def tell(consumers: ImportConsumers, pool: asyncpg.Pool, event: Event | bytes) -> None:
    topic = topics.IMPORT_PROGRESS.name
    first = await pool.fetchval("SELECT coalesce(max(next_offset), 0) FROM consumed_offsets WHERE topic = $1", topic)
    await consumers.apply_progress([record(event, first, topic=topic)], CLUSTER, {})


async def number_of(pool: asyncpg.Pool, import_id: UUID, chunk: int = 0) -> int:
    return await pool.fetchval(  # type: ignore[no-any-return]
        "SELECT number FROM import_chunks WHERE import_id = $1 AND chunk = $2", import_id, chunk
    )


async def verdict(pool: asyncpg.Pool, import_id: UUID) -> tuple[str, int]:
    async with pool.acquire() as connection:
        await Sweeper(pool, Health(), 900).sweep(connection)
    row = await pool.fetchrow("SELECT status, read FROM imports WHERE id = $1", import_id)
    return tuple(row)  # type: ignore[return-value]


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("vapteke_ignored_events_total", {"reason": reason}) or 0


async def completed(consumers: ImportConsumers, pool: asyncpg.Pool, *rows: tuple[int, str]) -> tuple[str, int]:
    """An import of these rows alone, in order; its verdict."""
    import_id = await start_import(pool)
    attempt = Attempt(import_id, number=await number_of(pool, import_id))
    await deliver(consumers, pool, *(attempt.read(*row) for row in rows))
    last = await pool.fetchval("SELECT max(next_offset) - 1 FROM consumed_offsets WHERE topic LIKE '%legacy%'")
    await tell(consumers, pool, attempt.published(len(rows), {0: last}))
    return await verdict(pool, import_id)


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ({"import_id": uuid4()}, "import_not_alive"),
        ({"chunk": 7}, "not_handed_out"),
        ({"chunk": 1}, "not_handed_out"),  # planned, and not asked for
        ({"number": 2**60}, "not_handed_out"),
        ({"legacy_id": 101}, "outside_of_the_range"),
        ({"legacy_id": -(2**63)}, None),
    ],
)
async def test_an_event_of_nothing_that_was_handed_out_changes_nothing(
    consumers: ImportConsumers, pool: asyncpg.Pool, forged: dict[str, object], reason: str | None
) -> None:
    running = await start_import(pool, upper_bounds=[100, 200], in_flight=1)
    event = Attempt(running, number=await number_of(pool, running)).read(1, PHONE, read_at=FAR)
    before = counted(reason) if reason else 0

    await deliver(consumers, pool, msgspec.structs.replace(event, **forged))

    assert len(await people_of(pool)) == (reason is None)
    assert await counts(pool) == ({} if reason else {"created": 1})
    assert await pool.fetchval("SELECT count(*) FROM phones") == (reason is None)
    if reason:
        assert counted(reason) == before + 1


async def test_a_forged_event_of_a_living_hand_out_harms_no_later_import(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    forged = Attempt(running, number=await number_of(pool, running), read_at=FAR)
    await deliver(consumers, pool, forged.read(7, OTHER, lastname="Никто", last_auth_at=FAR, city_id=2**63 - 1))
    await end_import(pool, "failed")

    assert await completed(consumers, pool, (7, PHONE), (8, OTHER)) == ("completed", 2)

    people = await people_of(pool)
    assert [people[key][:3] for key in (7, 8)] == [(PHONE, None, None), (OTHER, None, None)]
    assert await pool.fetchval("SELECT count(*) FROM customers WHERE last_auth_at IS NOT NULL") == 0


BOUNDS = [
    [5, 5],
    [5, 4],
    [2**63 - 1, -(2**63)],
    list(range(1_000_000)),
    [],
]


@pytest.mark.parametrize("bounds", BOUNDS, ids=["twice", "falling", "ends", "a_million", "none"])
async def test_a_senseless_plan_is_ignored_and_the_real_one_counts(
    consumers: ImportConsumers, pool: asyncpg.Pool, bounds: list[int]
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000)
    forged = Planned(import_id=job["id"], row_count=2**63 - 1, upper_bounds=bounds, number=job["plan_number"])
    real = Planned(import_id=job["id"], row_count=1, upper_bounds=[100], number=job["plan_number"])

    await tell(consumers, pool, forged)
    await tell(consumers, pool, real)

    assert [row["upto_id"] for row in await pool.fetch("SELECT upto_id FROM import_chunks")] == [100]


async def test_a_progress_event_with_a_number_never_handed_out_changes_nothing(
    consumers: ImportConsumers, pool: asyncpg.Pool
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000)
    before = await pool.fetch("SELECT * FROM imports")
    mine = {"import_id": job["id"], "number": 2**60}

    for event in (
        PlanStarted(**mine),
        Planned(row_count=1, upper_bounds=[9], **mine),
        Failed(chunk=None, error="forged", **mine),
    ):
        await tell(consumers, pool, event)

    assert await pool.fetch("SELECT * FROM imports") == before


async def test_a_range_is_published_and_failed_under_its_number_alone(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    forged = Attempt(running, number=2**60)

    await tell(consumers, pool, forged.published(0, {}))
    await tell(consumers, pool, Failed(import_id=running, chunk=0, error="forged", number=2**60))

    assert await pool.fetchval("SELECT status FROM import_chunks") == "requested"
    assert await pool.fetchval("SELECT error FROM imports") is None


def published(**changes: object) -> RangePublished:
    event = Attempt(uuid4()).published(10, {0: 9})
    return msgspec.structs.replace(event, **changes)


ABSURD: list[dict[str, object]] = [
    {"event_count": 101},
    {"event_count": 2**63 - 1},
    {"last_offsets": dict.fromkeys(range(11), 1)},
]


@pytest.mark.parametrize("changes", ABSURD)
def test_a_publication_that_no_range_can_have_is_senseless(changes: dict[str, object]) -> None:
    assert admissions.fault_of_publication(published(**changes), Range(1, after_id=0, upto_id=100)) is not None
    assert admissions.fault_of_publication(published(), Range(1, after_id=0, upto_id=100)) is None


@pytest.mark.parametrize(
    "value",
    [
        b'{"import_id":"%s","row_count":-1,"upper_bounds":[1]}',
        b'{"import_id":"%s","row_count":1,"upper_bounds":[99999999999999999999]}',
        b'{"import_id":"%s","row_count":1,"upper_bounds":[1],"source_at":"9999-12-31T23:59:59-14:00","importer_at":"0001-01-01T00:00:00+14:00"}',
    ],
)
async def test_wild_values_are_no_error_loop(consumers: ImportConsumers, pool: asyncpg.Pool, value: bytes) -> None:
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000)
    wild = record(value % str(job["id"]).encode(), 0, topic=topics.IMPORT_PROGRESS.name)
    wild.headers[:] = [("ce_type", Planned.type.encode())]

    await consumers.apply_progress([wild], CLUSTER, {})

    assert await pool.fetchval("SELECT next_offset FROM consumed_offsets") == 1


async def test_offsets_in_the_far_future_end_with_their_import(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    forged = Attempt(running, number=await number_of(pool, running))
    await tell(consumers, pool, forged.published(1, {0: 2**63 - 1}))
    impatient = Sweeper(pool, Health(), stalled_seconds=1)
    async with pool.acquire() as connection:
        await impatient.sweep(connection)
        impatient.grow_idle(2)
        await impatient.sweep(connection)
    assert await pool.fetchval("SELECT status FROM imports") == "failed"

    assert await completed(consumers, pool, (7, PHONE)) == ("completed", 1)


async def test_an_importer_without_numbers_works_for_what_was_handed_out_with_one(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    old = Attempt(running)
    await deliver(consumers, pool, old.read(7, PHONE))
    await tell(consumers, pool, old.published(1, {0: 0}))

    assert await verdict(pool, running) == ("completed", 1)
    assert await pool.fetchval("SELECT number FROM legacy_customers") == await number_of(pool, running)


async def test_a_range_that_was_handed_out_without_a_number_is_read_and_applied(
    consumers: ImportConsumers, pool: asyncpg.Pool
) -> None:
    assert await completed(consumers, pool, (7, PHONE)) == ("completed", 1)
    running = await start_import(pool)
    # as the previous release requested it
    await pool.execute("UPDATE import_chunks SET number = NULL WHERE import_id = $1", running)
    old = Attempt(running, read_at=datetime(2001, 1, 1, tzinfo=UTC))

    await deliver(consumers, pool, old.read(7, OTHER))
    await tell(consumers, pool, old.published(1, {0: 1}))

    assert await verdict(pool, running) == ("completed", 1)
    assert (await people_of(pool))[7][0] == OTHER


async def test_between_attempts_of_one_hand_out_the_clock_decides(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    number, now = await number_of(pool, running), datetime(2026, 1, 2, tzinfo=UTC)
    late = Attempt(running, number=number, read_at=now - timedelta(seconds=1))
    again = Attempt(running, number=number, read_at=now)

    await deliver(consumers, pool, again.read(7, PHONE, lastname="Новый"), late.read(7, PHONE, lastname="Старый"))

    assert (await people_of(pool))[7][2] == "Новый"


@pytest.mark.parametrize(("after_id", "is_inside"), [(None, True), (-1, True), (0, False), (1, False)])
def test_a_range_that_begins_at_zero_has_no_key_of_zero(after_id: int | None, is_inside: bool) -> None:
    import_id = uuid4()
    admission = Admission(import_id, {0: Range(None, after_id, 100)})

    refusal = admission.reason_to_ignore(Attempt(import_id).read(0, PHONE))

    assert (refusal is None) is is_inside
