"""Refused calls leave lines with the caller's address, and a flood of them leaves few."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest
from audit_lines import DEADLINE_SECONDS, AuditLines
from fastapi import Body, FastAPI
from tokens_for import SETTINGS, bearer, header
from vapteke_shared.http import application, problems
from vapteke_shared.http.access import auth
from vapteke_shared.http.problems import ProblemError

SECRET = "this-must-never-be-logged"


def service() -> FastAPI:
    app = FastAPI(openapi_url=None)
    problems.install(app)
    router = application.router("people")

    @router.post("/people/{customer_id}/", dependencies=[auth.require_scope("customers:read")])
    async def read(customer_id: int, body: list[int] = Body()) -> int:  # noqa: B008 - FastAPI's way
        if customer_id == 404:
            raise ProblemError(404, "gone", "Gone.")
        return customer_id

    app.routes.extend(router.routes)
    auth.protect(app, SETTINGS, "customers-api", ["/open"])
    return app


SERVICE = service()


def asking(address: str = "192.0.2.7") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(SERVICE, client=(address, 40000))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def lines(capsys: pytest.CaptureFixture[str]) -> AuditLines:
    """Of a window of its own: one that the tests before have opened is over."""
    made = AuditLines(capsys)
    deadline = time.monotonic() + DEADLINE_SECONDS
    async with asking("192.0.2.99") as client:
        while True:  # until a refusal of the same caller has a line again
            await client.get("/")
            if any("method" in line for line in made()):
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    made.found.clear()
    return made


async def no_token(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(f"/people/7/?email={SECRET}")


async def bad_token(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/people/7/", headers=header(SECRET))


async def no_scope(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/people/7/", headers=bearer("customers:write"), json=[])


async def too_large(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/people/7/", headers=bearer("customers:read"), json=[SECRET] * 20_000)


async def nowhere(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(f"/{SECRET}/")


Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
PATH = "/people/{customer_id}/"


@pytest.mark.parametrize(
    ("call", "status", "code", "subject", "path"),
    [
        (no_token, 401, "token_required", None, PATH),
        (bad_token, 401, "invalid_token", None, PATH),
        (nowhere, 401, "token_required", None, None),
        (no_scope, 403, "insufficient_scope", "tester", PATH),
        (too_large, 413, "body_too_large", "tester", PATH),
    ],
)
async def test_a_refusal_has_a_line_with_the_callers_address_and_no_content(
    lines: AuditLines, call: Call, status: int, code: str, subject: str | None, path: str | None
) -> None:
    async with asking("2001:db8::7") as client:
        answer = await call(client)

    [line] = await lines.until(1)
    del line["timestamp"]
    assert answer.status_code == status
    assert line == {
        "subject": subject,
        "address": "2001:db8::7",
        "status": status,
        "code": code,
        "method": "POST",
        "path": path,
        "trace_id": answer.json()["trace_id"],
        "event": "calls.refused",
        "level": "warning",
        "logger": "audit",
    }
    assert SECRET not in json.dumps(line)


async def test_an_invalid_request_is_not_a_refusal(lines: AuditLines) -> None:
    async with asking() as client:
        statuses = [
            (await client.post(path, headers=bearer(), json=[])).status_code
            for path in ("/people/404/", "/people/x/", "/nothing/")
        ]

    assert (statuses, lines()) == ([404, 422, 404], [])


async def test_every_refusal_is_accounted_for(lines: AuditLines) -> None:
    async with asking() as client:
        for call in [bad_token, no_scope] * 50:
            await call(client)

    found = await lines.until(100)
    counts = {
        code: sum(line.get("more", 1) for line in found if line["code"] == code)
        for code in ("invalid_token", "insufficient_scope")
    }
    assert counts == {"invalid_token": 50, "insufficient_scope": 50}
    assert {line["address"] for line in found} == {"192.0.2.7"}


async def test_a_flood_of_refusals_leaves_few_lines(lines: AuditLines) -> None:
    started, asked = time.monotonic(), 500

    for caller in range(asked):
        async with asking(f"2001:db8::{caller:x}") as client:
            await no_token(client)

    found = await lines.until(asked)
    seconds = time.monotonic() - started
    # each second: 20 callers, their sums, and one sum of all others
    assert len(found) <= 41 * (seconds + 2)


async def test_a_body_declared_as_too_large_is_rejected_before_it_arrives() -> None:
    async with asking() as client:
        answer = await client.post(
            "/people/7/", headers={**bearer("customers:read"), "Content-Length": "300000"}, content=b"[]"
        )

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
