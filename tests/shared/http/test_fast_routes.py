"""A fast route responds exactly as a route of FastAPI does."""

import asyncio
from datetime import date
from typing import Annotated
from urllib.parse import quote

import httpx
import pytest
from customers_api.customers import endpoints, list_endpoints
from fastapi import APIRouter, FastAPI, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from tokens_for import SETTINGS, bearer
from vapteke_shared.http import problems
from vapteke_shared.http.access import auth, callers
from vapteke_shared.http.fast_routes import FastRoute

TRACE = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
Day = Annotated[date | None, Header()]
Note = Annotated[str, Header(max_length=5)]


async def thing(request: Request, number: Number, a_day: Day = None, note: Note = "none") -> Response:
    return JSONResponse([number, a_day and a_day.isoformat(), note, callers.principal(request).subject])


def service(kind: type[APIRoute]) -> FastAPI:
    app, router = FastAPI(openapi_url=None), APIRouter(route_class=kind)
    problems.install(app)
    router.add_api_route("/things/{number}/", thing, dependencies=[auth.require_scope("customers:read")])
    app.include_router(router)
    auth.protect(app, SETTINGS, "customers-api", [])
    return app


WHOLE, FAST = service(APIRoute), service(FastRoute)


async def told(app: FastAPI, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, object]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=TRACE) as client:
        answer = await client.get(f"/things/{path}/?number=5&note=else", headers=headers)
    return answer.status_code, answer.json()


numbers = st.one_of(st.integers(-1, 2**64).map(str), st.sampled_from(["+1", " 1", "1.0", "1e3", "٣", "0x1", "", "1_0"]))
days = st.one_of(st.dates().map(str), st.sampled_from(["", "today", "2024-02-30", "0"]))
headers = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([b"a-day", b"A-Day", b"a_day"]), days.map(str.encode)),
        st.tuples(st.just(b"note"), st.binary(max_size=7).filter(lambda text: not set(text) & {0, 10, 13})),
    ),
    max_size=3,
)


@given(st.one_of(numbers, st.text(st.characters(codec="utf-8"), max_size=5)), headers)
def test_both_routes_respond_the_same(path: str, more: list[tuple[bytes, bytes]]) -> None:
    token = [(name.encode(), value.encode()) for name, value in bearer("customers:read").items()]

    async def both() -> tuple[object, object]:
        return await told(WHOLE, quote(path, safe=""), token + more), await told(
            FAST, quote(path, safe=""), token + more
        )

    whole, fast = asyncio.run(both())

    assert fast == whole


@pytest.mark.parametrize("scopes", [[], ["customers:write"]])
async def test_a_fast_route_requires_the_scope_too(scopes: list[str]) -> None:
    token = [(name.encode(), value.encode()) for name, value in (bearer(*scopes) if scopes else {}).items()]

    assert await told(FAST, "1", token) == await told(WHOLE, "1", token)
    assert (await told(FAST, "1", token))[0] in (401, 403)


async def given_nothing(request: Request, note: Annotated[str, Header()]) -> Response:
    return Response(note)


async def given_a_list(request: Request, note: Annotated[list[str] | None, Header()] = None) -> Response:
    return Response(str(note))


async def given_a_query(request: Request, note: str = "") -> Response:
    return Response(note)


async def given_a_response(request: Request, response: Response) -> Response:
    return response


async def not_a_response(request: Request) -> str:
    return "text"


async def not_said(request: Request):  # type: ignore[no-untyped-def]
    return {}


def not_a_coroutine(request: Request) -> Response:
    return Response()


@pytest.mark.parametrize(
    "endpoint",
    [given_nothing, given_a_list, given_a_query, given_a_response, not_a_response, not_said, not_a_coroutine],
)
def test_an_endpoint_that_takes_more_uses_the_solver(endpoint: object) -> None:
    assert FastRoute("/{number}/", thing).is_fast
    assert not FastRoute("/", endpoint).is_fast


def test_the_most_frequent_reads_are_fast() -> None:
    routes = [*endpoints.router.routes, *list_endpoints.router.routes]

    fast = {route.name for route in routes if isinstance(route, FastRoute) and route.is_fast}
    assert {"get_customer", "list_customers"} <= fast
