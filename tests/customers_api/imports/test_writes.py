"""The life of an import: asked for, planned, its window of ranges, its end."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
import pytest
from customers_api.imports import progress, writes
from legacy_events import Attempt, cancel, end_import, start_import
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import Failed, Planned, PlanStarted


async def tell(pool: asyncpg.Pool, event: Event, in_flight: int = 8) -> None:
    async with pool.acquire() as connection, connection.transaction():
        match event:
            case PlanStarted():
                await progress.plan_started(connection, event)
            case Planned():
                await progress.planned(connection, event, in_flight)
            case Failed():
                await progress.failed(connection, event)
            case _:
                await progress.range_published(connection, event, in_flight)  # type: ignore[arg-type]


async def asked_for(pool: asyncpg.Pool) -> list[tuple[int, int | None, int]]:
    rows = await pool.fetch("SELECT value FROM outbox WHERE headers->>'ce_type' LIKE '%range_requested' ORDER BY id")
    tasks = [msgspec.json.decode(row["value"]) for row in rows]
    return [(task["chunk"], task["after_id"], task["upto_id"]) for task in tasks]


async def status(pool: asyncpg.Pool) -> tuple[str, str | None]:
    return tuple(await pool.fetchrow("SELECT status, error FROM imports ORDER BY requested_at DESC LIMIT 1"))


async def test_of_twenty_callers_at_once_all_get_one_import(pool: asyncpg.Pool) -> None:
    async def call() -> UUID:
        async with pool.acquire() as connection, connection.transaction():
            job, _ = await writes.start(connection, 10_000)
            return job["id"]  # type: ignore[no-any-return]

    jobs = await asyncio.gather(*(call() for _ in range(20)))

    assert len(set(jobs)) == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'vapteke.import.tasks.v1'") == 1


async def test_after_an_import_has_ended_the_next_call_starts_another(pool: asyncpg.Pool) -> None:
    first = await start_import(pool)
    await end_import(pool)

    second = await start_import(pool)

    assert first != second


async def test_ranges_are_asked_for_through_a_window(pool: asyncpg.Pool) -> None:
    running = await start_import(pool, upper_bounds=[10, 20, 30, 40, 50], in_flight=2)
    assert await asked_for(pool) == [(0, None, 10), (1, 10, 20)]

    await tell(pool, Attempt(running, chunk=1).published(3, {0: 2}), in_flight=2)

    assert await asked_for(pool) == [(0, None, 10), (1, 10, 20), (2, 20, 30)]


async def test_the_state_of_an_import_that_the_previous_release_planned_is_sent_before_its_next_range(
    pool: asyncpg.Pool,
) -> None:
    running = await start_import(pool, upper_bounds=[10, 20, 30], in_flight=1)
    await pool.execute("UPDATE imports SET plan_number = NULL")
    await pool.execute("UPDATE import_chunks SET number = NULL")
    await pool.execute("DELETE FROM outbox")

    await tell(pool, Attempt(running, chunk=0).published(3, {0: 2}), in_flight=1)

    sent = await pool.fetch("SELECT topic, value FROM outbox ORDER BY id")
    assert [row["topic"] for row in sent] == ["vapteke.import.state.v1", "vapteke.import.tasks.v1"]
    state = msgspec.json.decode(sent[0]["value"])
    assert (state["import_id"], state["status"]) == (str(running), "running")


async def test_the_first_plan_counts(pool: asyncpg.Pool) -> None:
    running = await start_import(pool, upper_bounds=[10])

    await tell(pool, Planned(import_id=running, row_count=99, upper_bounds=[5, 9]))

    assert await asked_for(pool) == [(0, None, 10)]
    assert await pool.fetchval("SELECT planned_rows FROM imports") == 1


async def test_the_first_published_attempt_wins(pool: asyncpg.Pool) -> None:
    running = await start_import(pool)
    won, late = Attempt(running), Attempt(running)
    await tell(pool, won.published(3, {0: 2}))

    await tell(pool, late.published(5, {0: 7}))
    await tell(pool, Failed(import_id=running, chunk=0, error="too late"))

    assert await pool.fetchval("SELECT attempt FROM import_chunks") == won.id
    assert await status(pool) == ("running", None)


async def test_a_failed_range_dooms_the_import_and_nothing_more_is_asked_for(pool: asyncpg.Pool) -> None:
    running = await start_import(pool, upper_bounds=[10, 20, 30], in_flight=2)

    await tell(pool, Failed(import_id=running, chunk=0, error="cannot be reached"))
    await tell(pool, Attempt(running, chunk=0).published(1, {}), in_flight=2)
    await tell(pool, Attempt(running, chunk=1).published(1, {}), in_flight=2)

    assert await status(pool) == ("running", "cannot be reached")
    assert await asked_for(pool) == [(0, None, 10), (1, 10, 20)]
    assert [row[0] for row in await pool.fetch("SELECT status FROM import_chunks ORDER BY chunk")] == [
        "failed",
        "published",
        "planned",
    ]


async def test_a_failed_plan_ends_the_import(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000)
    await tell(pool, PlanStarted(import_id=job["id"]))

    await tell(pool, Failed(import_id=job["id"], chunk=None, error="refused the login"))
    await tell(pool, Planned(import_id=job["id"], row_count=1, upper_bounds=[1]))

    assert await status(pool) == ("failed", "refused the login")


async def test_a_cancelled_import_asks_for_no_more_ranges(pool: asyncpg.Pool) -> None:
    running = await start_import(pool, upper_bounds=[10, 20, 30], in_flight=1)

    await cancel(pool, running)
    await cancel(pool, running)
    await tell(pool, Attempt(running, chunk=0).published(1, {0: 0}), in_flight=1)

    assert await status(pool) == ("running", None)
    assert await asked_for(pool) == [(0, None, 10)]


async def test_what_has_ended_cannot_be_cancelled(pool: asyncpg.Pool, running: UUID) -> None:
    await end_import(pool)

    with pytest.raises(writes.ImportEnded):
        await cancel(pool, running)


async def test_a_jump_of_the_sources_clock_is_a_warning_of_the_next_job(pool: asyncpg.Pool) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    warnings = []
    for ahead in (timedelta(days=1), timedelta(0)):
        async with pool.acquire() as connection, connection.transaction():
            job, _ = await writes.start(connection, 10_000)
            plan = Planned(import_id=job["id"], row_count=1, upper_bounds=[1])
            plan.source_at, plan.importer_at = now + ahead, now
            await progress.planned(connection, plan, 8)
            warnings.append(await connection.fetchval("SELECT warnings FROM imports WHERE id = $1", job["id"]))
        await end_import(pool)

    assert ["jumped" in text for texts in warnings for text in texts] == [False, True]
