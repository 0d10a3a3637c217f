"""The schedule over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from audit_lines import AuditLines
from customers_api.schedule.scheduler import Scheduler
from customers_api.schedule.times import Schedule
from legacy_events import end_import, start_import
from tokens_for import bearer

SCHEDULE = "/rest/v1/imports/schedule/"
NO_SCHEDULE = {
    "schedule": None,
    "kind": None,
    "timezone": None,
    "next_at": None,
    "paused": False,
    "paused_at": None,
    "paused_by": None,
    "last_completed_at": None,
}


@pytest.fixture
async def scheduled(pool: asyncpg.Pool) -> Schedule:
    """What `customers-api work` runs."""
    schedule = Schedule("0 3 * * *", "full", "Europe/Moscow")
    async with pool.acquire() as connection:
        await Scheduler(schedule).advance(connection)
    return schedule


def shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


async def schedule_of(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(SCHEDULE)).json()
    return found


async def test_without_a_schedule_no_import_starts_by_itself(client: httpx.AsyncClient) -> None:
    assert await schedule_of(client) == NO_SCHEDULE


async def test_the_schedule_shows_the_settings_the_next_time_and_the_last_completed_import(
    client: httpx.AsyncClient, pool: asyncpg.Pool, scheduled: Schedule
) -> None:
    await start_import(pool)
    await end_import(pool)
    await start_import(pool)
    await end_import(pool, "failed")

    assert await schedule_of(client) == NO_SCHEDULE | {
        "schedule": "0 3 * * *",
        "kind": "full",
        "timezone": "Europe/Moscow",
        "next_at": shown(scheduled.next_after(datetime.now(UTC))),
        "last_completed_at": shown(await pool.fetchval("SELECT finished_at FROM imports WHERE status = 'completed'")),
    }


async def test_a_pause_names_who_paused_first_and_ends_with_resume(
    client: httpx.AsyncClient, scheduled: Schedule
) -> None:
    before = await schedule_of(client)

    paused = [(await client.post(f"{SCHEDULE}pause/")).json() for _ in range(2)]
    resumed = [(await client.post(f"{SCHEDULE}resume/")).json() for _ in range(2)]

    assert (paused[0]["paused"], paused[0]["paused_by"], paused[0]["next_at"]) == (True, "tester", None)
    assert datetime.now(UTC) - datetime.fromisoformat(paused[0]["paused_at"]) < timedelta(minutes=5)
    assert paused[1] == paused[0]
    assert resumed == [before, before]


async def test_pausing_and_resuming_are_written_to_the_audit(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = AuditLines(capsys)

    for what in ("pause", "resume"):
        await client.post(f"{SCHEDULE}{what}/")

    assert [(line["event"], line["subject"], line["ids"]) for line in lines()] == [
        ("imports.schedule_pause", "tester", []),
        ("imports.schedule_resume", "tester", []),
    ]


async def test_reading_and_changing_the_schedule_have_the_scopes_of_imports(client: httpx.AsyncClient) -> None:
    reader, runner = bearer("imports:read"), bearer("imports:run")

    statuses = [
        (await client.get(SCHEDULE, headers=reader)).status_code,
        (await client.get(SCHEDULE, headers=runner)).status_code,
        (await client.post(f"{SCHEDULE}pause/", headers=reader)).status_code,
        (await client.post(f"{SCHEDULE}resume/", headers=reader)).status_code,
        (await client.post(f"{SCHEDULE}pause/", headers=runner)).status_code,
    ]

    assert statuses == [200, 403, 403, 403, 200]


async def test_no_import_can_have_the_path_of_the_schedule(client: httpx.AsyncClient) -> None:
    assert (await client.get("/rest/v1/imports/timetable/")).status_code == 422
    assert (await client.delete(SCHEDULE)).headers["Allow"] == "GET, HEAD, OPTIONS"
