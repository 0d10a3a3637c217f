"""The line that is left of every read or change of a person."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from tokens_for import SETTINGS, bearer
from vapteke_shared.http import problems
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.problems import ProblemError

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def service() -> FastAPI:
    app = FastAPI(openapi_url=None)
    problems.install(app)

    @app.get("/people/", dependencies=[auth.require_scope("customers:read")])
    async def read(request: Request) -> None:
        data_access.record(request, "customers.list", [14722, 14738])
        raise ProblemError(404, "gone", "Gone.")

    @app.get("/open")
    async def public(request: Request) -> None:
        data_access.record(request, "customers.read", [14722])

    auth.protect(app, SETTINGS, "customers-api", ["/open"])
    return app


async def ask(path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service()), base_url="http://test") as client:
        return await client.get(path, headers=headers)


def lines(captured: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


async def test_an_audit_line_has_who_did_what_to_whom_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    answer = await ask("/people/", bearer("customers:read"))

    [line] = lines(capsys)
    instant = datetime.fromisoformat(line.pop("timestamp"))
    assert line == {
        "subject": "tester",
        "address": "127.0.0.1",
        "ids": [14722, 14738],
        "trace_id": answer.json()["trace_id"],
        "event": "customers.list",
        "level": "info",
        "logger": "audit",
    }
    assert abs(datetime.now(UTC) - instant) < timedelta(minutes=1)


async def test_an_audit_line_has_the_callers_trace(capsys: pytest.CaptureFixture[str]) -> None:
    trace = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}

    answer = await ask("/people/", bearer("customers:read") | trace)

    assert [line["trace_id"] for line in lines(capsys)] == [answer.json()["trace_id"]] == [TRACE]


async def test_a_refused_request_leaves_no_line_of_a_read(capsys: pytest.CaptureFixture[str]) -> None:
    answers = [await ask("/people/", headers) for headers in ({}, bearer("customers:write"))]

    assert [answer.status_code for answer in answers] == [401, 403]
    assert "customers.list" not in {line["event"] for line in lines(capsys)}


async def test_a_request_without_a_principal_cannot_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    answer = await ask("/open", bearer())

    assert answer.status_code == 401
    assert "customers.read" not in {line["event"] for line in lines(capsys)}


def test_an_audit_line_looks_like_other_lines_and_no_log_level_silences_it() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout

    logged, audited = map(json.loads, output.splitlines())
    assert audited.keys() == logged.keys() | {"subject", "address", "ids", "trace_id"}
    assert len(audited["timestamp"]) == len(logged["timestamp"])


PROGRAM = """
from fastapi import Request
from vapteke_shared.http.audit import data_access
from vapteke_shared.process import logs
from vapteke_shared.http.access.tokens import Principal

logs.configure("ERROR")
logs.get("customers-api").error("this one is logged")
logs.get("customers-api").info("this one is not")
scope = {"type": "http", "headers": [], "principal": Principal("tester", frozenset(), 0)}
data_access.record(Request(scope), "customers.read", [14722])
"""
