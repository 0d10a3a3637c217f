"""Imports of changes that the schedule has started and that found nothing are one job."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from customers_api.imports import progress, stored_ranges, writes
from customers_api.imports.sweeper import Sweeper
from customers_api.schedule.scheduler import Scheduler
from customers_api.schedule.times import Schedule
from legacy_events import cancel
from moved_clocks import MovedClock
from prometheus_client import REGISTRY
from vapteke_shared.contract.events.imports import Planned
from vapteke_shared.process.health import Health

OFTEN = Schedule("every 5s", "changes", "UTC", full_every_hours=24)
BASIS = {"server": "SQL1"}
ROWS = 7


class Polls:
    """Imports that the schedule starts every five seconds, of a table with one key range, and their ends."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool, self._clock = pool, MovedClock(datetime.now(UTC))

    async def begin(self) -> UUID:
        """Until the next import of the schedule has been requested."""
        self._clock.move(seconds=5)
        await self.advance()
        import_id: UUID = await self._pool.fetchval("SELECT import_id FROM import_schedule")
        return import_id

    async def plan(self, import_id: UUID, **changed: Any) -> None:
        facts = {"row_count": ROWS, "upper_bounds": [ROWS], "unread": [0], "basis": BASIS} | changed
        async with self._pool.acquire() as connection, connection.transaction():
            assert await progress.planned(connection, Planned(import_id=import_id, **facts), 8) is None

    async def end(self) -> None:
        """The sweeper ends the import, and the schedule notes that."""
        async with self._pool.acquire() as connection:
            await Sweeper(self._pool, Health(), 900).sweep(connection)
        await self.advance()

    async def run(self, **plan: Any) -> UUID:
        import_id = await self.begin()
        await self.plan(import_id, **plan)
        await self.end()
        return import_id

    async def advance(self) -> None:
        async with self._pool.acquire() as connection:
            await Scheduler(OFTEN, clock=self._clock).advance(connection)


@pytest.fixture
async def polls(pool: asyncpg.Pool) -> Polls:
    """A full import has stored the one range, and the schedule is known."""
    await pool.execute(
        "INSERT INTO imports (id, status, read, planned_rows, basis, finished_at)"
        f""" VALUES ($1, 'completed', {ROWS}, {ROWS}, '{{"server": "SQL1"}}', now())""",
        UUID(int=1),
    )
    await pool.execute(f"INSERT INTO stored_ranges VALUES ({ROWS}, '{ROWS}:1', NULL, $1)", UUID(int=1))
    polls = Polls(pool)
    await polls.advance()
    return polls


async def jobs(pool: asyncpg.Pool) -> list[tuple[Any, ...]]:
    rows = await pool.fetch("SELECT kind, status, read, unread, repeated FROM imports ORDER BY requested_at")
    return [tuple(row) for row in rows]


FULL = ("full", "completed", ROWS, 0, 0)


def nothing(repeated: int = 0) -> tuple[Any, ...]:
    return "changes", "completed", 0, ROWS, repeated


async def test_imports_that_find_nothing_are_one_job_with_a_counter(
    pool: asyncpg.Pool, polls: Polls, client: httpx.AsyncClient
) -> None:
    first, *_ = [await polls.run() for _ in range(20)]

    job = (await client.get(f"/rest/v1/imports/{first}/")).json()
    assert await jobs(pool) == [FULL, nothing(19)]
    assert job["repeated"] == 19
    assert job["repeated_at"] > job["finished_at"]


async def test_the_last_of_them_counts_for_freshness(
    pool: asyncpg.Pool, polls: Polls, client: httpx.AsyncClient
) -> None:
    for _ in range(3):
        await polls.run()

    schedule = (await client.get("/rest/v1/imports/schedule/")).json()
    [job] = (await client.get("/rest/v1/imports/?kind=changes")).json()["items"]
    at = datetime.fromisoformat(job["repeated_at"])
    assert schedule["last_completed_at"] == job["repeated_at"]
    assert REGISTRY.get_sample_value("vapteke_last_completed_import_timestamp_seconds") == pytest.approx(
        at.timestamp(), abs=0.001
    )


async def test_what_follows_is_as_if_each_had_its_own_job(pool: asyncpg.Pool, polls: Polls) -> None:
    now = datetime.now(UTC)
    await polls.run(source_at=now, importer_at=now)
    for ahead in (1, 2, 3):
        await polls.run(source_at=now.replace(microsecond=ahead), importer_at=now.replace(microsecond=0))

    async with pool.acquire() as connection:
        stored = await stored_ranges.find(connection)
    schedule = await pool.fetchrow("SELECT import_id, failures, next_at FROM import_schedule")
    assert stored == ([ROWS], [f"{ROWS}:1"], BASIS)
    assert await pool.fetchval("SELECT source_ahead_seconds FROM imports WHERE repeated > 0") == pytest.approx(3e-6)
    assert (schedule["import_id"], schedule["failures"]) == (None, 0)
    assert schedule["next_at"] > now


async def test_an_import_that_reads_something_is_a_job_and_the_next_one_too(pool: asyncpg.Pool, polls: Polls) -> None:
    await polls.run()
    await polls.run()
    import_id = await polls.begin()
    await polls.plan(import_id, unread=[])
    await pool.execute(
        "UPDATE import_chunks SET status = 'published', attempt = $1, event_count = 1, last_offsets = '{}',"
        f" fingerprint = '{ROWS}:2'",
        UUID(int=2),
    )
    await pool.execute("INSERT INTO import_counts VALUES ($1, 0, $2, 0, 0, 1, 0, 0, 0)", import_id, UUID(int=2))
    await polls.end()
    await polls.run()
    await polls.run()

    assert await jobs(pool) == [FULL, nothing(1), ("changes", "completed", 1, 0, 0), nothing(1)]


async def test_who_joins_an_import_of_the_schedule_can_look_it_up(
    pool: asyncpg.Pool, polls: Polls, client: httpx.AsyncClient
) -> None:
    await polls.run()
    import_id = await polls.begin()
    joined = await client.post("/rest/v1/imports/", json={"kind": "changes"})
    await polls.plan(import_id)
    await polls.end()
    await polls.run()

    job = (await client.get(joined.headers["location"])).json()
    assert (job["id"], job["status"], job["repeated"]) == (str(import_id), "completed", 1)
    assert await jobs(pool) == [FULL, nothing(), nothing(1)]


async def test_who_joins_an_import_of_the_schedule_that_waits_can_look_it_up(
    pool: asyncpg.Pool, polls: Polls, client: httpx.AsyncClient
) -> None:
    await client.post("/rest/v1/imports/", json={"kind": "compare"})
    import_id = await polls.begin()
    joined = await client.post("/rest/v1/imports/", json={"kind": "changes"})

    assert joined.json()["id"] == str(import_id)
    assert await pool.fetchval("SELECT only_scheduled FROM imports WHERE id = $1", import_id) is False


async def test_whoever_joins_at_the_moment_of_the_end_can_look_the_import_up(pool: asyncpg.Pool, polls: Polls) -> None:
    async def call() -> UUID:
        async with pool.acquire() as connection:
            job, _ = await writes.start(connection, 10, kind="changes", requested_by="report")
            return job["id"]  # type: ignore[no-any-return]

    await polls.run()
    for _ in range(20):
        await polls.plan(await polls.begin())
        *ids, _ = await asyncio.gather(*(call() for _ in range(4)), polls.end())

        known = await pool.fetchval("SELECT count(*) FROM imports WHERE id = ANY($1)", ids)
        await pool.execute("UPDATE imports SET status = 'cancelled', finished_at = now() WHERE finished_at IS NULL")
        assert known == len(set(ids))


async def test_what_a_caller_has_started_is_not_folded_whatever_the_caller_is_called(
    pool: asyncpg.Pool, polls: Polls
) -> None:
    await polls.run()
    async with pool.acquire() as connection:
        job, _ = await writes.start(connection, 10, kind="changes", requested_by="schedule")

    assert await polls.begin() == job["id"]  # the schedule joins it
    await polls.plan(job["id"])
    await polls.end()

    assert await jobs(pool) == [FULL, nothing(), nothing()]


async def test_imports_that_find_nothing_and_have_the_same_warnings_are_one_job(
    pool: asyncpg.Pool, polls: Polls
) -> None:
    await polls.run()
    await pool.execute(
        "INSERT INTO legacy_customers"
        " (legacy_id, customer_id, read_at, changed_in, changed_as, gone_at, gone_in, gone_as)"
        " VALUES (99, 1, now(), $1, 'created', now(), $1, 'withheld')",
        UUID(int=1),
    )
    for _ in range(3):
        await polls.run()

    assert await jobs(pool) == [FULL, nothing(), nothing(2)]


async def test_an_import_with_a_warning_or_a_cancel_or_gone_rows_is_not_folded(
    pool: asyncpg.Pool, polls: Polls
) -> None:
    await polls.run()
    with_warning = await polls.run(warnings=["the keys up to 7 could not be compared"])
    cancelled = await polls.begin()
    await polls.plan(cancelled)
    await cancel(pool, cancelled)
    await polls.end()
    await pool.execute(
        "INSERT INTO legacy_customers (legacy_id, customer_id, read_at, changed_in, changed_as)"
        " VALUES (99, 1, now(), $1, 'created')",
        UUID(int=1),
    )
    with_gone_row = await polls.run()

    kept = {row["id"] for row in await pool.fetch("SELECT id FROM imports WHERE kind = 'changes'")}
    assert kept > {with_warning, cancelled, with_gone_row}
    assert await pool.fetchval("SELECT sum(repeated) FROM imports") == 0
