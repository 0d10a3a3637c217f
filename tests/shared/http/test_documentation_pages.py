"""The documentation pages: whole without any other host, and gone when they are not wanted."""

import re
from collections.abc import AsyncIterator, Iterator

import contracts
import httpx
import pytest
from fastapi import FastAPI
from vapteke_shared.http import documentation_pages

SCRIPT, STYLE, HTML = "text/javascript", "text/css", "text/html"


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def customers() -> AsyncIterator[httpx.AsyncClient]:
    async with client(contracts.apps()["customers-api"]) as opened:
        yield opened


def loaded(html: str) -> Iterator[str]:
    """What a page loads of itself."""
    yield from re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="([^"]+)"', html)


@pytest.mark.parametrize("page", ["/docs/", "/redoc/", "/asyncapi/"])
async def test_a_page_and_all_that_it_loads_come_from_the_service(customers: httpx.AsyncClient, page: str) -> None:
    answer = await customers.get(page)

    parts = [part for part in loaded(answer.text) if part != "data:,"]
    kinds = {part: (await customers.get(page + part)) for part in parts}
    assert answer.headers["content-type"].startswith(HTML)
    assert kinds
    assert not [part for part in parts if ":" in part or part.startswith("/")]
    assert {each.status_code for each in kinds.values()} == {200}
    for part, each in kinds.items():
        assert each.headers["content-type"].startswith(SCRIPT if part.endswith(".js") else STYLE)
        assert each.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", ["/docs/", "/redoc/", "/asyncapi/"])
async def test_the_browser_may_load_only_from_the_service(customers: httpx.AsyncClient, page: str) -> None:
    policy = (await customers.get(page)).headers["content-security-policy"]

    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    sources = {source for rule in rules.values() for source in rule.split()}
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert {source for source in sources if not source.startswith("'sha256-")} == {"'none'", "'self'", "data:", "blob:"}


@pytest.mark.parametrize(("page", "document"), [("/docs/", "openapi"), ("/redoc/", "openapi")])
async def test_a_page_shows_the_services_own_document(customers: httpx.AsyncClient, page: str, document: str) -> None:
    script = (await customers.get(page + "page.js")).text

    assert f'"../{document}.json"' in script


async def test_the_browser_allows_the_styles_of_this_redoc(customers: httpx.AsyncClient) -> None:
    script = (await customers.get("/redoc/redoc.standalone.js")).text

    assert '"2.5.4"' in script, "look at the page in a browser: its console names the hashes that docs.py needs now"


async def test_redoc_loads_its_logo_from_the_service(customers: httpx.AsyncClient) -> None:
    script = (await customers.get("/redoc/redoc.standalone.js")).text

    assert "cdn.redoc.ly/redoc/logo" not in script
    assert 'window.location.pathname+"/logo-mini.svg"' in script
    for path in ("/redoc//logo-mini.svg", "/redoc/logo-mini.svg"):
        assert (await customers.get(path)).headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/asyncapi"])
async def test_a_page_without_its_slash_redirects_behind_any_prefix(customers: httpx.AsyncClient, page: str) -> None:
    answer = await customers.get(page)

    assert (answer.status_code, answer.headers["location"]) == (307, f"{page[1:]}/")


async def test_the_documents_are_json(customers: httpx.AsyncClient) -> None:
    openapi, asyncapi = await customers.get("/openapi.json"), await customers.get("/asyncapi.json")

    assert openapi.json()["info"]["title"] == "customers-api"
    assert asyncapi.json()["info"]["title"] == "customers-api: topics"


@pytest.mark.parametrize("service", ["customers-api", "favorites-api"])
async def test_disabled_pages_are_404(service: str) -> None:
    async with client(contracts.apps(docs_enabled=False)[service]) as closed:
        answers = [await closed.get(path) for path in sorted(documentation_pages.PATHS)]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}
