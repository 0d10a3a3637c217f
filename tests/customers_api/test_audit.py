"""Whoever reads or changes a person is on record: every route, and every answer that tells of one."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import contracts
import httpx
import pytest
from fastapi.routing import iter_route_contexts
from tokens_for import bearer

CUSTOMERS, IMPORTS = "/rest/v1/customers/", "/rest/v1/imports/"
ONE, REJECTIONS = f"{CUSTOMERS}{{customer_id:customer}}/", f"{IMPORTS}{{import_id}}/rejections/"
NOBODY = 999
TELLS_OF_NO_PERSON = {("GET", IMPORTS), ("GET", f"{IMPORTS}{{import_id}}/"), ("GET", f"{IMPORTS}schedule/")}

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What the audit has written since it was asked last, without what a line always has."""

    def read() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"audit"' in line]
        always = {"subject": "tester", "address": "127.0.0.1", "level": "info", "logger": "audit"}
        assert all(line.items() >= always.items() for line in found)
        dropped = {*always, "trace_id", "timestamp"}
        return [{name: value for name, value in line.items() if name not in dropped} for line in found]

    return read


async def created(client: httpx.AsyncClient, phone: str = "79025163111") -> int:
    return int((await client.post(CUSTOMERS, json={"phone": phone, "lastname": "Иванов"})).json()["id"])


async def with_a_difference(pool: asyncpg.Pool) -> UUID:
    """A completed comparison."""
    import_id = uuid4()
    await pool.execute("INSERT INTO imports (id, kind, status) VALUES ($1, 'compare', 'completed')", import_id)
    await pool.execute(
        "INSERT INTO import_differences (import_id, legacy_id, difference) VALUES ($1, 3, 'gone')", import_id
    )
    return import_id


async def test_every_route_that_tells_of_a_person_leaves_a_line(
    client: httpx.AsyncClient, pool: asyncpg.Pool, running: UUID, lines: Lines
) -> None:
    customer = await created(client)
    calls: dict[tuple[str, str], tuple[Any, str, list[Any]]] = {
        ("GET", CUSTOMERS): (None, "customers.list", [customer]),
        ("POST", CUSTOMERS): ({"phone": "79025163112"}, "customers.create", [customer + 1]),
        ("POST", f"{CUSTOMERS}lookup/"): ({"ids": [customer]}, "customers.lookup", [customer]),
        ("GET", ONE): (None, "customers.read", [customer]),
        ("PATCH", ONE): ({"city_id": 3}, "customers.update", [customer]),
        ("PATCH", f"{ONE}phone/"): ({"phone": "79025163113"}, "customers.phone_change", [customer]),
        ("DELETE", ONE): (None, "customers.delete", [customer]),
        ("POST", f"{ONE}restore/"): (None, "customers.restore", [customer]),
        ("GET", REJECTIONS): (None, "imports.rejections", []),
        ("POST", IMPORTS): (None, "imports.join", [str(running)]),
        ("GET", "/grpc/v1/service/import_customers/"): (None, "imports.join", [str(running)]),
        ("POST", f"{IMPORTS}schedule/pause/"): (None, "imports.schedule_pause", []),
        ("POST", f"{IMPORTS}schedule/resume/"): (None, "imports.schedule_resume", []),
        ("GET", f"{IMPORTS}{{import_id}}/differences/"): (None, "imports.differences", []),
        ("GET", f"{IMPORTS}{{import_id}}/rows/"): (None, "imports.rows", []),
        ("GET", f"{IMPORTS}{{import_id}}/deletions/"): (None, "imports.deletions", []),
        ("POST", f"{IMPORTS}{{import_id}}/deletions/approve/"): (
            {"count": 0},
            "imports.approve_deletions",
            [str(running)],
        ),
        ("POST", f"{IMPORTS}{{import_id}}/cancel/"): (None, "imports.cancel", [str(running)]),
    }
    compare, repaired = await with_a_difference(pool), ("POST", f"{IMPORTS}{{import_id}}/repair/")
    calls[repaired] = (None, "imports.repair", [])
    lines()

    for (method, path), (body, event, ids) in calls.items():
        import_id = str(compare if (method, path) == repaired else running)
        place = path.replace("{customer_id:customer}", str(customer)).replace("{import_id}", import_id)
        answer = await client.request(method, place, json=body)
        assert answer.is_success, answer.text
        found = [(line["event"], line["ids"]) for line in lines()]
        assert found[0] == (event, ids), (method, path)

    assert calls.keys() | TELLS_OF_NO_PERSON == _operations()


def _operations() -> set[tuple[str, str]]:
    """Of the whole service, but what is public."""
    return {
        (method, str(context.path))
        for context in iter_route_contexts(contracts.apps()["customers-api"].routes)
        for method in (context.route.methods or ())  # type: ignore[attr-defined]
        if str(context.path).startswith(("/rest/", "/grpc/")) and method != "HEAD"
    }


async def test_a_write_whose_answer_shows_the_customer_is_a_read_too(client: httpx.AsyncClient, lines: Lines) -> None:
    customer = await created(client)
    lines()

    for method, path, body in [("PATCH", "", {}), ("POST", "restore/", None)]:
        headers = bearer("customers:write")
        answer = await client.request(method, f"{CUSTOMERS}{customer}/{path}", json=body, headers=headers)
        assert answer.json()["lastname"] == "Иванов"
        assert {"event": "customers.read", "ids": [customer]} in lines()


async def test_a_write_that_shows_no_more_than_was_sent_is_no_read(client: httpx.AsyncClient, lines: Lines) -> None:
    customer = await created(client)
    await client.patch(f"{CUSTOMERS}{customer}/", json={"phone": "79025163112"})
    await client.delete(f"{CUSTOMERS}{customer}/")

    assert "customers.read" not in {line["event"] for line in lines()}


async def test_that_there_is_no_such_customer_is_on_record(client: httpx.AsyncClient, lines: Lines) -> None:
    calls = [
        ("GET", "", None, "customers.read"),
        ("PATCH", "", {}, "customers.update"),
        ("PATCH", "phone/", {"phone": "79025163111"}, "customers.phone_change"),
        ("DELETE", "", None, "customers.delete"),
        ("POST", "restore/", None, "customers.restore"),
    ]

    for method, path, body, event in calls:
        await client.request(method, f"{CUSTOMERS}{NOBODY}/{path}", json=body)
        assert lines() == [{"event": event, "ids": [NOBODY], "refused": "customer_not_found"}]


async def test_an_import_that_does_not_exist_or_cannot_be_cancelled_leaves_no_line(
    client: httpx.AsyncClient, pool: asyncpg.Pool, running: UUID, lines: Lines
) -> None:
    await pool.execute("UPDATE imports SET status = 'failed', finished_at = now()")

    statuses = [
        (await client.request(method, f"{IMPORTS}{import_id}/{path}")).status_code
        for import_id, method, path in [
            (uuid4(), "GET", "rejections/"),
            (uuid4(), "POST", "cancel/"),
            (running, "POST", "cancel/"),
        ]
    ]

    assert (statuses, lines()) == ([404, 404, 409], [])


async def test_who_is_asked_for_and_not_found_is_on_record(client: httpx.AsyncClient, lines: Lines) -> None:
    customer = await created(client)
    lines()

    await client.get(f"{CUSTOMERS}?id={NOBODY}&id={customer}")
    await client.post(f"{CUSTOMERS}lookup/", json={"ids": [NOBODY, customer]})

    assert [line["ids"] for line in lines()] == [[customer, NOBODY]] * 2


async def test_who_has_the_phone_is_on_record_and_the_phone_is_not(client: httpx.AsyncClient, lines: Lines) -> None:
    holder, other = await created(client), await created(client, "79025163112")
    lines()

    await client.post(CUSTOMERS, json={"phone": "79025163111"})
    await client.patch(f"{CUSTOMERS}{other}/", json={"phone": "79025163111"})

    assert lines() == [
        {"event": "customers.phone_taken", "ids": [holder]},
        {"event": "customers.phone_taken", "ids": [holder, other]},
    ]


async def test_the_version_that_a_refused_write_tells_is_on_record(client: httpx.AsyncClient, lines: Lines) -> None:
    customer = await created(client)
    lines()

    await client.patch(f"{CUSTOMERS}{customer}/", json={}, headers={"If-Match": '"7"'})

    assert lines() == [{"event": "customers.update", "ids": [customer], "refused": "version_mismatch"}]
