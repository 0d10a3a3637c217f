"""What every answer has: HEAD, OPTIONS, CORS, and headers for caches and browsers."""

from typing import Never

import contracts
import httpx
import pytest
from fastapi import FastAPI
from tokens_for import bearer

PAGE = "https://shop.example.com"
OTHER = "https://shop.example.com.evil.example"
EXPOSED = {"ETag", "Link", "Location", "Updated-Until", "Retry-After"}
CUSTOMERS = "/rest/v1/customers/"
PREFLIGHT = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization,if-match"}
REFUSED = [
    ("/rest/v1/customers/", {}, 401),
    ("/rest/v1/customers/", bearer("favorites:read"), 403),
    ("/rest/v1/nothing/", bearer(), 404),
    ("/rest/v1/customers/lookup/", bearer(), 405),
    ("/rest/v1/customers/?nothing=1", bearer(), 422),
    ("/rest/v1/customers/", bearer(), 500),
]
"""Without a pool, every call that asks Postgres is an unexpected error."""


OPENED = contracts.apps(cors_allowed_origins=f"https://other.example.com,{PAGE}")["customers-api"]
CLOSED = contracts.apps()["customers-api"]


def asking(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def opened() -> httpx.AsyncClient:
    return asking(OPENED)


def closed() -> httpx.AsyncClient:
    return asking(CLOSED)


class Away:
    """A pool whose server is away."""

    def acquire(self, timeout: float) -> Never:
        raise ConnectionRefusedError


@pytest.mark.parametrize(("path", "token", "status"), REFUSED)
async def test_every_error_can_be_read_by_an_allowed_page(path: str, token: dict[str, str], status: int) -> None:
    async with opened() as client:
        answer = await client.get(path, headers={**token, "origin": PAGE})

    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert set(answer.headers["access-control-expose-headers"].split(", ")) >= EXPOSED
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


async def test_an_outage_can_be_read_by_an_allowed_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPENED.state, "pool", Away())
    async with opened() as client:
        answer = await client.get(CUSTOMERS, headers={**bearer(), "origin": PAGE})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origin", [None, OTHER, "null", PAGE.upper(), f"{PAGE}:8443", PAGE.replace("s:", ":")])
async def test_no_other_page_is_allowed_and_caches_vary_by_origin(origin: str | None) -> None:
    async with opened() as client:
        answer = await client.get("/health/live", headers={"origin": origin} if origin else {})
        asked = await client.options(CUSTOMERS, headers={"origin": origin or OTHER, **PREFLIGHT})

    assert "access-control-allow-origin" not in {*answer.headers, *asked.headers}
    assert "Origin" in answer.headers["vary"]
    assert asked.status_code == 400


@pytest.mark.parametrize(
    ("asked", "fault"),
    [({"origin": OTHER}, "origin"), ({"access-control-request-method": "PUT"}, "method")],
)
async def test_a_rejected_preflight_is_a_problem(asked: dict[str, str], fault: str) -> None:
    async with opened() as client:
        answer = await client.options(CUSTOMERS, headers={"origin": PAGE, **PREFLIGHT, **asked})

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == "cors_refused"
    assert answer.json()["detail"] == f"The preflight is rejected: Disallowed CORS {fault}."
    assert answer.json()["instance"] == CUSTOMERS
    assert "Origin" in answer.headers["vary"]
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_a_preflight_needs_no_token() -> None:
    async with opened() as client:
        answer = await client.options(CUSTOMERS, headers={"origin": PAGE, **PREFLIGHT})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert set(answer.headers["access-control-allow-methods"].split(", ")) >= {"GET", "POST", "PATCH", "DELETE"}
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-match", "if-none-match"} <= set(allowed)
    assert "access-control-allow-credentials" not in answer.headers


async def test_without_allowed_origins_there_is_no_cors() -> None:
    async with closed() as client:
        answer = await client.get("/health/live", headers={"origin": PAGE})
        asked = await client.options(CUSTOMERS, headers={"origin": PAGE, **PREFLIGHT})

    assert not [name for name in (*answer.headers, *asked.headers) if name.startswith("access-control-")]
    assert asked.status_code == 401


@pytest.mark.parametrize(("path", "token", "status"), REFUSED)
async def test_no_cache_keeps_an_answer_and_no_browser_guesses_its_type(
    path: str, token: dict[str, str], status: int
) -> None:
    async with closed() as client:
        answer = await client.get(path, headers=token)

    assert answer.status_code == status
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_the_files_of_the_documentation_may_be_cached() -> None:
    async with closed() as client:
        answer = await client.get("/docs/swagger-ui.css")

    assert answer.headers.get_list("cache-control") == ["max-age=3600"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/docs/", "/openapi.json", "/rest/v1/nothing/", CUSTOMERS]
)
async def test_head_is_get_without_a_body(path: str) -> None:
    headers = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    async with closed() as client:
        head, get = [await client.request(method, path, headers=headers) for method in ("HEAD", "GET")]

    assert (head.status_code, head.content, head.headers) == (get.status_code, b"", get.headers)
    assert int(head.headers["content-length"]) == len(get.content) > 0


async def test_head_of_the_endpoint_that_starts_imports_starts_none() -> None:
    path = "/grpc/v1/service/import_customers/"
    async with closed() as client:
        answers = [
            await client.head(path, headers=bearer()),
            await client.head(path.rstrip("/"), headers=bearer()),
            await client.options(path, headers=bearer()),
            await client.head(path),
        ]

    assert [answer.status_code for answer in answers] == [405, 405, 204, 401], "500: it has asked for the database"
    assert {answer.headers["allow"] for answer in answers[:3]} == {"GET, OPTIONS"}


async def test_options_names_the_methods_of_a_path() -> None:
    async with closed() as client:
        public = await client.options("/health/live")
        stranger = await client.options(CUSTOMERS)
        known = await client.options(f"{CUSTOMERS}1/", headers=bearer())

    assert (public.status_code, public.headers["allow"], public.content) == (204, "GET, HEAD, OPTIONS", b"")
    assert stranger.status_code == 401
    assert (known.status_code, known.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")
