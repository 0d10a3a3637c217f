"""A job says in one sentence what it waits for."""

from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from customers_api.imports import progress, writes
from legacy_events import start_import
from vapteke_shared.contract.events.imports import AttemptFailed, Failed, Planned, PlanStarted, RangePublished

AWAY = "vAptekeSync at 192.0.2.1:1433 did not answer within 30 s"
UNPUBLISHED = {"event_count": 1, "last_offsets": {0: 7}, "attempt": UUID(int=1)}


@pytest.fixture
async def import_id(pool: asyncpg.Pool) -> UUID:
    async with pool.acquire() as connection:
        job, _ = await writes.start(connection, 10)
    return UUID(str(job["id"]))


async def waiting_for(client: httpx.AsyncClient, import_id: UUID) -> str | None:
    told: str | None = (await client.get(f"/rest/v1/imports/{import_id}/")).json()["waiting_for"]
    return told


async def a_minute_passes(pool: asyncpg.Pool) -> None:
    """By the instants from which waiting is reckoned."""
    await pool.execute(
        "UPDATE imports SET requested_at = requested_at - interval '1 minute',"
        " started_at = started_at - interval '1 minute'"
    )
    await pool.execute("UPDATE import_chunks SET moved_at = moved_at - interval '1 minute'")


async def test_a_new_import_waits_for_nothing_and_later_for_an_importer(
    pool: asyncpg.Pool, client: httpx.AsyncClient, import_id: UUID
) -> None:
    before = await waiting_for(client, import_id)
    await a_minute_passes(pool)
    requested = await waiting_for(client, import_id)
    await progress.plan_started(pool, PlanStarted(import_id=import_id))
    just_started = await waiting_for(client, import_id)
    await a_minute_passes(pool)
    planning = await waiting_for(client, import_id)

    assert (before, just_started) == (None, None)
    assert requested == "an importer, or customers-api work, which sends it the task: none has taken the plan for 60 s"
    assert planning == "an importer: the plan has not been made for 60 s"


async def test_a_range_that_nobody_reads_and_one_that_nobody_applies_are_told_apart(
    pool: asyncpg.Pool, client: httpx.AsyncClient
) -> None:
    import_id = await start_import(pool)
    await a_minute_passes(pool)
    unread = await waiting_for(client, import_id)
    async with pool.acquire() as connection:
        published = RangePublished(import_id=import_id, chunk=0, **UNPUBLISHED)
        await progress.range_published(connection, published, in_flight=8)
    fresh = await waiting_for(client, import_id)
    await a_minute_passes(pool)
    unapplied = await waiting_for(client, import_id)

    assert unread == "an importer: no range has been published for 60 s"
    assert fresh is None
    assert unapplied == "customers-api work: what was read has not been applied for 60 s"


async def test_when_everything_is_read_and_applied_only_the_verdict_is_missing(
    pool: asyncpg.Pool, client: httpx.AsyncClient
) -> None:
    import_id = await start_import(pool)
    async with pool.acquire() as connection:
        published = RangePublished(import_id=import_id, chunk=0, event_count=0, last_offsets={}, attempt=UUID(int=1))
        await progress.range_published(connection, published, in_flight=8)
    await a_minute_passes(pool)

    assert await waiting_for(client, import_id) == (
        "customers-api work: everything is read and applied, and the verdict has not been given for 60 s"
    )


async def test_a_retry_is_told_until_it_succeeds(pool: asyncpg.Pool, client: httpx.AsyncClient) -> None:
    import_id = await start_import(pool)
    retry: dict[str, Any] = {"import_id": import_id, "attempts": 3, "error": AWAY}

    async with pool.acquire() as connection:
        event = AttemptFailed(**retry, chunk=0, attempt=1, retry_seconds=900)
        await progress.attempt_failed(connection, event)
        first = await waiting_for(client, import_id)
        await progress.attempt_failed(connection, AttemptFailed(**retry, chunk=0, attempt=2, retry_seconds=0))
        second = await waiting_for(client, import_id)
        published = RangePublished(import_id=import_id, chunk=0, **UNPUBLISHED)
        await progress.range_published(connection, published, in_flight=8)
        after = await waiting_for(client, import_id)

    assert first is not None
    assert first.startswith("range 0: attempt 2 of 3 in ")
    assert first.endswith(f" s, because: {AWAY}")
    assert second == f"range 0: attempt 3 of 3 now, because: {AWAY}"
    assert after is None


async def test_a_plan_that_is_retried_is_shown_until_there_is_one(
    pool: asyncpg.Pool, client: httpx.AsyncClient, import_id: UUID
) -> None:
    failed = AttemptFailed(import_id=import_id, chunk=None, attempt=1, attempts=2, retry_seconds=0, error=AWAY)

    async with pool.acquire() as connection:
        await progress.attempt_failed(connection, failed)
        before = await waiting_for(client, import_id)
        await progress.planned(connection, Planned(import_id=import_id, row_count=1, upper_bounds=[5]), in_flight=8)
        after = await waiting_for(client, import_id)

    assert before == f"the plan: attempt 2 of 2 now, because: {AWAY}"
    assert after is None


async def test_an_import_that_has_ended_waits_for_nothing(
    pool: asyncpg.Pool, client: httpx.AsyncClient, import_id: UUID
) -> None:
    await a_minute_passes(pool)
    async with pool.acquire() as connection:
        await progress.failed(connection, Failed(import_id=import_id, chunk=None, error=AWAY))

    assert await waiting_for(client, import_id) is None
