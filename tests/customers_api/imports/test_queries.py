"""Imports as they are watched: history and rejections, with paging and filters; and cancelling over REST."""

import json
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import httpx
import pytest
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.sweeper import Sweeper
from legacy_events import CLUSTER, Attempt, records, start_import
from vapteke_shared.process.health import Health

IMPORTS = "/rest/v1/imports/"
PHONE = "79025163111"


@pytest.fixture
async def ended(consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID) -> UUID:
    """One row rejected, two fields of another, and a phone that two rows name."""
    attempt = Attempt(running)
    events = [
        attempt.read(1, PHONE),
        attempt.read(2, PHONE, unusable={"email": "not_an_address", "gender": "unknown"}),
        attempt.rejected(3, "too_short"),
    ]
    await consumers.apply_legacy(records(events), CLUSTER, {})
    published = attempt.published(3, {0: 2})
    async with pool.acquire() as connection:
        await pool.execute(
            "UPDATE import_chunks SET status = 'published', attempt = $1, event_count = 3, last_offsets = '{\"0\": 2}'",
            published.attempt,
        )
        await Sweeper(pool, Health(), 900).sweep(connection)
    return running


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [(1, "phone"), (2, "email"), (2, "gender"), (3, "phone")]),
        ("?kind=field", [(2, "email"), (2, "gender")]),
        ("?kind=phone_conflict", [(1, "phone")]),
        ("?field=phone", [(1, "phone"), (3, "phone")]),
        ("?field=phone&kind=row", [(3, "phone")]),
        ("?reason=too_short", [(3, "phone")]),
        ("?legacy_id=2&legacy_id=3", [(2, "email"), (2, "gender"), (3, "phone")]),
        ("?legacy_id=-1", []),
        ("?customer_id=2", [(2, "email"), (2, "gender")]),
    ],
)
async def test_rejections_are_found_by_what_they_say(
    client: httpx.AsyncClient, ended: UUID, query: str, found: list[tuple[int, str]]
) -> None:
    answer = (await client.get(f"{IMPORTS}{ended}/rejections/{query}")).json()

    assert answer["count"] == len(found)
    assert [(item["legacy_id"], item["field"]) for item in answer["items"]] == found


async def test_rejections_have_pages(client: httpx.AsyncClient, ended: UUID) -> None:
    pages = [(await client.get(f"{IMPORTS}{ended}/rejections/?limit=3&offset={offset}")).json() for offset in (0, 3)]

    assert [[item["legacy_id"] for item in page["items"]] for page in pages] == [[1, 2, 2], [3]]
    assert [page["count"] for page in pages] == [4, 4]


async def test_the_history_is_found_by_state_and_instant(
    client: httpx.AsyncClient, pool: asyncpg.Pool, ended: UUID
) -> None:
    await pool.execute("UPDATE imports SET requested_at = $1", datetime(2026, 1, 1, tzinfo=UTC))
    alive = await start_import(pool)

    async def found(query: str) -> list[str]:
        return [item["id"] for item in (await client.get(f"{IMPORTS}?{query}")).json()["items"]]

    assert await found("") == [str(alive), str(ended)]
    assert await found("status=completed&status=failed") == [str(ended)]
    assert await found("status=running&requested_to=2026-02-01T00:00:00Z") == []
    assert await found("requested_from=2026-02-01T00:00:00Z") == [str(alive)]
    assert await found("limit=1&offset=1") == [str(ended)]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?status=dead", "/query/status/0"),
        ("?requested_from=today", "/query/requested_from"),
        ("?limit=0", "/query/limit"),
        ("?cursor=x", "/query/cursor"),
    ],
)
async def test_what_the_history_does_not_know_is_refused(client: httpx.AsyncClient, query: str, pointer: str) -> None:
    answer = await client.get(IMPORTS + query)

    assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, [pointer])


async def test_an_import_is_cancelled_until_it_has_ended(
    client: httpx.AsyncClient, pool: asyncpg.Pool, running: UUID
) -> None:
    first = await client.post(f"{IMPORTS}{running}/cancel/")
    await pool.execute("UPDATE imports SET status = 'completed', finished_at = now()")

    late = await client.post(f"{IMPORTS}{running}/cancel/")
    unknown = await client.post(f"{IMPORTS}{UUID(int=1)}/cancel/")

    assert (first.status_code, first.json()["id"]) == (202, str(running))
    assert (late.status_code, late.json()["code"]) == (409, "import_ended")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "import_not_found")


async def test_whose_rows_were_rejected_and_who_holds_the_phone_is_on_record(
    client: httpx.AsyncClient, ended: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    await client.get(f"{IMPORTS}{ended}/rejections/")
    await client.get(f"{IMPORTS}{ended}/rejections/?customer_id=7&legacy_id=8")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"audit"' in line]
    assert [(line["event"], line["import_id"], line["ids"], line["legacy_ids"]) for line in lines] == [
        ("imports.rejections", str(ended), [1, 2], [1, 2, 3]),
        ("imports.rejections", str(ended), [7], [8]),
    ]
