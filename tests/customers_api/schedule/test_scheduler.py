"""The schedule starts each import once, with a clock that the tests move."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from customers_api.imports.sweeper import Sweeper
from customers_api.schedule import writes
from customers_api.schedule.scheduler import Scheduler
from customers_api.schedule.times import Schedule
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from legacy_events import end_import, start_import
from moved_clocks import MovedClock
from prometheus_client import REGISTRY
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health

NIGHTLY = Schedule("30 2 * * *", "full", "Europe/Berlin")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(NOON)


async def advance(pool: asyncpg.Pool, clock: MovedClock, schedule: Schedule | None = NIGHTLY) -> None:
    """One look of a process that has just begun to lead."""
    async with pool.acquire() as connection:
        await Scheduler(schedule, clock=clock).advance(connection)


async def pass_time(
    pool: asyncpg.Pool, clock: MovedClock, hours: float, step: timedelta = timedelta(minutes=10)
) -> int:
    """Let so many hours pass, with a look at each step. Every import completes before the next look. Returns how many
    have been started.
    """
    before, end = await count(pool), clock.now + timedelta(hours=hours)
    while clock.now < end:
        clock.now += step
        await advance(pool, clock)
        await end_import(pool)
    return await count(pool) - before


async def count(pool: asyncpg.Pool) -> int:
    found: int = await pool.fetchval("SELECT count(*) FROM imports")
    return found


async def next_at(pool: asyncpg.Pool) -> datetime | None:
    found: datetime | None = await pool.fetchval("SELECT next_at FROM import_schedule")
    return found


async def test_an_import_that_is_due_is_requested_once_and_by_the_schedule(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await advance(pool, clock)
    at_first = await count(pool)
    clock.move(hours=12, minutes=30)

    for _ in range(3):
        await advance(pool, clock)

    jobs = await pool.fetch("SELECT kind, requested_by, status FROM imports")
    assert at_first == 0
    assert [tuple(job) for job in jobs] == [("full", "schedule", "requested")]
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'vapteke.import.tasks.v1'") == 1
    assert await next_at(pool) == datetime(2026, 5, 3, 0, 30, tzinfo=UTC)


async def test_a_schedule_of_changes_starts_a_full_import_when_the_last_one_is_too_old(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    hourly = Schedule("every 1h", "changes", "UTC", full_every_hours=2.5)
    await pool.execute(
        "INSERT INTO imports (id, status, requested_at, finished_at, basis) VALUES ($1, 'completed', $2, $2, '{}')",
        UUID(int=1),
        clock.now - timedelta(hours=1),
    )
    await pool.execute("INSERT INTO stored_ranges (upto_id, import_id) VALUES (1, $1)", UUID(int=1))
    await advance(pool, clock, hourly)

    for _ in range(5):
        clock.move(hours=1)
        await advance(pool, clock, hourly)
        await pool.execute("UPDATE imports SET requested_at = $1 WHERE finished_at IS NULL", clock.now)
        await end_import(pool)

    jobs = await pool.fetch("SELECT kind, repeated FROM imports ORDER BY requested_at")
    assert [tuple(job) for job in jobs] == [("full", 0), ("changes", 0), ("full", 0), ("changes", 1), ("full", 0)]


@pytest.mark.parametrize("noon", [datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)])
async def test_one_import_starts_in_the_night_that_skips_its_time_and_in_the_night_that_has_it_twice(
    pool: asyncpg.Pool, noon: datetime
) -> None:
    clock = MovedClock(noon)
    await advance(pool, clock)

    nights = [await pass_time(pool, clock, 24) for _ in range(3)]

    assert nights == [1, 1, 1]


async def test_five_missed_times_are_caught_up_with_one_import(pool: asyncpg.Pool, clock: MovedClock) -> None:
    await advance(pool, clock)
    clock.move(days=5)

    await advance(pool, clock)
    await end_import(pool)
    await advance(pool, clock)

    assert await count(pool) == 1
    assert await next_at(pool) == datetime(2026, 5, 7, 0, 30, tzinfo=UTC)


async def test_processes_that_all_believe_they_lead_start_one_import_however_soon_it_ends(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await advance(pool, clock)

    for night in range(1, 11):
        clock.move(days=1)
        looking = asyncio.gather(*(advance(pool, clock) for _ in range(8)))
        while not looking.done():
            await end_import(pool)
        await looking
        assert await count(pool) == night
        await end_import(pool)


@asynccontextmanager
async def working(settings: WorkSettings, clock: MovedClock) -> AsyncIterator[Health]:
    """A process `work`, as far as the sweeper concerns it: with connections of its own."""
    stopping, health = asyncio.Event(), Health("sweeper")
    async with pools.create_pool(settings, SCHEMA, 2) as own:
        sweeper = Sweeper(own, health, stalled_seconds=900, scheduler=Scheduler(NIGHTLY, clock=clock))
        sweeper.every_seconds = 0.05
        sweeping = asyncio.create_task(sweeper.run(stopping))
        try:
            yield health
        finally:
            stopping.set()
            await sweeping


async def until(pool: asyncpg.Pool, statement: str) -> None:
    async with asyncio.timeout(60):
        while not await pool.fetchval(statement):
            await asyncio.sleep(0.02)


async def until_started(pool: asyncpg.Pool, imports: int) -> None:
    """Wait until there are so many imports. The last one then completes, and its end is noted."""
    await until(pool, f"SELECT count(*) >= {imports} FROM imports")
    await end_import(pool)
    await until(pool, "SELECT import_id IS NULL FROM import_schedule")


async def test_of_two_work_processes_one_starts_each_import_and_after_a_restart_none_comes_twice(
    pool: asyncpg.Pool, settings: WorkSettings, clock: MovedClock
) -> None:
    async with working(settings, clock):
        async with working(settings, clock):
            await until(pool, "SELECT next_at IS NOT NULL FROM import_schedule")
            clock.move(days=1)
            await until_started(pool, 1)
        clock.move(days=1)  # the process that led has perhaps ended
        await until_started(pool, 2)
    clock.move(days=5)
    async with working(settings, clock):
        await until_started(pool, 3)
    async with working(settings, clock) as health:
        async with asyncio.timeout(60):
            while health.faults:  # until it has looked once
                await asyncio.sleep(0.02)

    assert await pool.fetch("SELECT DISTINCT requested_by, status FROM imports") == [("schedule", "completed")]
    assert await count(pool) == 3


async def test_a_paused_schedule_starts_nothing_and_does_not_catch_up(pool: asyncpg.Pool, clock: MovedClock) -> None:
    await advance(pool, clock)
    async with pool.acquire() as connection:
        await writes.pause(connection, "an operator", clock.now)

        while_paused = await pass_time(pool, clock, 72)
        await writes.resume(connection, clock.now)

    assert while_paused == 0
    assert await pass_time(pool, clock, 6) == 0
    assert await pass_time(pool, clock, 24) == 1


async def test_due_times_of_a_pause_are_skipped_though_no_process_ran_meanwhile(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await advance(pool, clock)
    async with pool.acquire() as connection:
        await writes.pause(connection, "an operator", clock.now)
        clock.move(days=1)
        await writes.resume(connection, clock.now)

    await advance(pool, clock)

    assert await count(pool) == 0
    assert await next_at(pool) == datetime(2026, 5, 3, 0, 30, tzinfo=UTC)


async def test_a_failing_import_backs_off_and_says_so(pool: asyncpg.Pool, clock: MovedClock) -> None:
    often = Schedule("every 5s", "full", "UTC")
    await advance(pool, clock, often)
    clock.move(seconds=5)
    await advance(pool, clock, often)

    pauses = []
    for _ in range(7):
        await end_import(pool, "failed")
        await advance(pool, clock, often)
        due = await next_at(pool)
        assert due is not None
        pauses.append((due - clock.now).total_seconds() / 60)
        clock.now = due - timedelta(seconds=1)
        await advance(pool, clock, often)  # too early
        assert await pool.fetchval("SELECT count(*) FROM imports WHERE finished_at IS NULL") == 0
        clock.now = due
        await advance(pool, clock, often)

    assert pauses == [1, 2, 5, 15, 30, 60, 60]
    said = await pool.fetchval("SELECT warnings FROM imports ORDER BY requested_at LIMIT 1 OFFSET 1")
    assert said == ["the schedule retries at 2026-05-01 12:03:05 UTC; failures in a row: 2"]


async def test_a_completed_import_ends_the_backing_off(pool: asyncpg.Pool, clock: MovedClock) -> None:
    await advance(pool, clock)
    for status in ("failed", "failed", "completed"):
        clock.now = await next_at(pool) or clock.now
        await advance(pool, clock)
        await end_import(pool, status)
        await advance(pool, clock)

    assert await pool.fetchval("SELECT failures FROM import_schedule") == 0
    assert await next_at(pool) == datetime(2026, 5, 3, 0, 30, tzinfo=UTC)


async def test_a_completed_import_of_a_caller_ends_the_backing_off_and_a_comparison_does_not(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await failed_once(pool, clock)
    due = []
    for kind in ("compare", "changes"):
        await start_import(pool, upper_bounds=[], kind=kind)
        await end_import(pool)
        await advance(pool, clock)
        due.append(await next_at(pool))

    assert due == [clock.now + timedelta(minutes=1), datetime(2026, 5, 3, 0, 30, tzinfo=UTC)]
    assert await pool.fetchval("SELECT failures FROM import_schedule") == 0


async def test_resume_ends_the_backing_off(pool: asyncpg.Pool, clock: MovedClock) -> None:
    await failed_once(pool, clock)

    async with pool.acquire() as connection:
        await writes.resume(connection, clock.now)
    await advance(pool, clock)

    assert await pool.fetchval("SELECT failures FROM import_schedule") == 0
    assert await next_at(pool) == datetime(2026, 5, 3, 0, 30, tzinfo=UTC)


async def failed_once(pool: asyncpg.Pool, clock: MovedClock) -> None:
    """The import of the night fails, and the schedule notes that."""
    await advance(pool, clock)
    clock.now = await next_at(pool) or clock.now
    await advance(pool, clock)
    await end_import(pool, "failed")
    await advance(pool, clock)


async def test_a_cancelled_import_is_not_retried_before_the_next_time(pool: asyncpg.Pool, clock: MovedClock) -> None:
    await advance(pool, clock)
    clock.move(days=1)
    await advance(pool, clock)
    await end_import(pool, "cancelled")
    await advance(pool, clock)

    assert (await pass_time(pool, clock, 12), await next_at(pool)) == (0, datetime(2026, 5, 3, 0, 30, tzinfo=UTC))


async def test_an_import_that_runs_already_is_joined(pool: asyncpg.Pool, clock: MovedClock) -> None:
    await advance(pool, clock)
    await pool.execute(
        "INSERT INTO imports (id, status, requested_by) VALUES (gen_random_uuid(), 'running', 'somebody')"
    )
    clock.move(days=1)

    await advance(pool, clock)

    assert await pool.fetchval("SELECT array_agg(requested_by) FROM imports") == ["somebody"]
    assert await next_at(pool) == datetime(2026, 5, 3, 0, 30, tzinfo=UTC)


async def test_a_clock_that_was_years_ahead_for_a_moment_does_not_stop_the_schedule(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await advance(pool, clock)
    await advance(pool, MovedClock(NOON + timedelta(days=2000)))
    await end_import(pool)

    assert [await pass_time(pool, clock, 24) for _ in range(3)] == [1, 1, 1]


async def test_a_process_whose_clock_is_a_little_behind_does_not_start_an_import_again(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await advance(pool, clock)
    clock.move(hours=12, minutes=30)
    await advance(pool, clock)
    await end_import(pool)

    clock.move(minutes=-5)

    assert await pass_time(pool, clock, 12) == 0


@pytest.mark.parametrize(
    "schedule", [Schedule("30 2 * * *", "full", "UTC"), Schedule("0 5 * * *", "full", "UTC"), None]
)
async def test_another_schedule_has_missed_nothing(
    pool: asyncpg.Pool, clock: MovedClock, schedule: Schedule | None
) -> None:
    await advance(pool, clock)
    clock.move(days=3)

    await advance(pool, clock, schedule)

    assert await count(pool) == 0
    assert await next_at(pool) == (schedule and schedule.next_after(clock.now))


async def test_the_metrics_show_the_last_completed_import_and_the_next_time(
    pool: asyncpg.Pool, clock: MovedClock
) -> None:
    await advance(pool, clock)
    clock.move(days=1)
    await advance(pool, clock)
    await end_import(pool)
    completed = await pool.fetchval("UPDATE imports SET finished_at = $1 RETURNING finished_at", clock.now)

    await advance(pool, clock)

    due = await next_at(pool)
    assert due is not None
    assert REGISTRY.get_sample_value("vapteke_last_completed_import_timestamp_seconds") == completed.timestamp()
    assert REGISTRY.get_sample_value("vapteke_next_import_timestamp_seconds") == due.timestamp()
