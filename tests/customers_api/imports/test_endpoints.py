"""Imports over REST: which kind is started, and by whom."""

from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from legacy_events import end_import

IMPORTS = "/rest/v1/imports/"


@pytest.mark.parametrize("body", [None, {}, {"kind": "full"}])
async def test_a_call_starts_a_full_import_for_the_subject_of_its_token(
    client: httpx.AsyncClient, body: dict[str, str] | None
) -> None:
    answer = await client.post(IMPORTS, json=body) if body is not None else await client.post(IMPORTS)

    job = answer.json()
    assert answer.status_code == 202
    assert {name: job[name] for name in ("kind", "requested_by", "unread", "warnings")} == {
        "kind": "full",
        "requested_by": "tester",
        "unread": 0,
        "warnings": [],
    }


async def test_the_call_of_the_contract_starts_a_full_import_for_the_subject_of_its_token(
    client: httpx.AsyncClient,
) -> None:
    url = (await client.get("/grpc/v1/service/import_customers/")).json()["data"]["url"]

    job = (await client.get(url)).json()
    assert (job["kind"], job["requested_by"]) == ("full", "tester")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"kind": "whole"}, "/body/kind"), ({"kind": None}, "/body/kind"), ({"sort": "full"}, "/body/sort")],
)
async def test_an_unknown_kind_or_field_starts_nothing(
    client: httpx.AsyncClient, pool: asyncpg.Pool, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post(IMPORTS, json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await pool.fetchval("SELECT count(*) FROM imports") == 0


async def test_an_import_that_the_previous_release_started_is_full_and_names_nobody(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    import_id = uuid4()
    await pool.execute("INSERT INTO imports (id, status) VALUES ($1, 'requested')", import_id)

    job = (await client.get(f"{IMPORTS}{import_id}/")).json()

    assert (job["kind"], job["requested_by"], job["unread"]) == ("full", None, 0)


async def test_imports_are_found_by_their_kind_and_one_of_a_later_release_is_shown(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    await client.post(IMPORTS)
    await end_import(pool)
    await pool.execute("INSERT INTO imports (id, kind, status) VALUES ($1, 'of_tomorrow', 'completed')", uuid4())

    every, full = [(await client.get(f"{IMPORTS}{query}")).json() for query in ("", "?kind=full")]

    assert {job["kind"] for job in every["items"]} == {"full", "of_tomorrow"}
    assert ([job["kind"] for job in full["items"]], full["count"]) == (["full"], 1)
    assert (await client.get(f"{IMPORTS}?kind=whole")).status_code == 422
