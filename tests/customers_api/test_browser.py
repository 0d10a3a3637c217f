"""A frontend of another origin, in a real browser: directly and through the gateway."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsers import Page, needs_browser, served_page
from customers_api.tables import SCHEMA
from gateways import NGINX, gateway
from running_service import running_service
from tokens_for import bearer
from vapteke_local.servers.postgres import Postgres

pytestmark = [needs_browser, pytest.mark.timeout(300)]
SCRIPT = """
const base = BASE + "/rest/v1/customers/", token = TOKEN;
const call = async (name, path, method, more = {}, body = undefined) => {
  const headers = {...token, ...more, ...(body ? {"Content-Type": "application/json"} : {})};
  const answer = await fetch(base + path, {method, headers, body: body && JSON.stringify(body)});
  const text = await answer.text();
  const seen = ["etag", "location", "link", "updated-until", "retry-after"].filter(each => answer.headers.get(each));
  return {name, status: answer.status, seen, code: text && JSON.parse(text).code, path: answer.headers.get("location")};
};
const first = await call("create", "", "POST", {}, {phone: "79025163111"});
const second = await call("create", "", "POST", {}, {phone: "79025163112"});
const id = first.path.split("/").at(-2);
const results = [
  first,
  await call("read", id + "/", "GET"),
  await call("head", id + "/", "HEAD"),
  await call("list", "?include_deleted=true&limit=1&_=1700000000000", "GET"),
  await call("stale", id + "/", "PATCH", {"If-Match": '"77"'}, {city_id: 1}),
  await call("change", id + "/", "PATCH", {"If-Match": '"1"'}, {city_id: 1}),
  await call("fault", "", "POST", {}, {nothing: 1}),
  await call("taken", "", "POST", {}, {phone: "79025163112"}),
  await call("stranger", "", "GET", {Authorization: "Bearer none"}),
  await call("delete", id + "/", "DELETE"),
];
return results.map(({name, status, seen, code}) => [name, status, seen, code || null]);
"""
SEEN = [
    ["create", 201, ["etag", "location"], None],
    ["read", 200, ["etag"], None],
    ["head", 200, ["etag"], None],
    ["list", 200, ["link", "updated-until"], None],
    ["stale", 412, ["etag"], "version_mismatch"],
    ["change", 200, ["etag"], None],
    ["fault", 422, [], "invalid_request"],
    ["taken", 409, [], "phone_taken"],
    ["stranger", 401, [], "invalid_token"],
    ["delete", 200, [], None],
]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with served_page() as page:
        yield page


def script(base: str) -> str:
    return SCRIPT.replace("BASE", json.dumps(base), 1).replace("TOKEN", json.dumps(bearer()), 1)


async def test_an_allowed_page_does_all_that_a_frontend_does(
    postgres_server: Postgres, database_name: str, page: Page, tmp_path: Path
) -> None:
    origins = {"CORS_ALLOWED_ORIGINS": f"https://shop.example.com,{page.origin}"}
    async with running_service(postgres_server, SCHEMA, database_name, **origins) as url:
        allowed = await page.run(script(url), page.origin, tmp_path / "allowed")
        other = await page.run(script(url), page.other_origin, tmp_path / "other")

    assert allowed == SEEN
    assert other == {"failed": "TypeError: Failed to fetch"}


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed: the package nginx-light has it")
async def test_it_does_so_through_the_gateway_too(
    postgres_server: Postgres, database_name: str, page: Page, tmp_path: Path
) -> None:
    origins = {"CORS_ALLOWED_ORIGINS": page.origin}
    (tmp_path / "nginx").mkdir()
    async with running_service(postgres_server, SCHEMA, database_name, **origins) as url:
        port = int(urlsplit(url).port or 0)
        async with gateway(tmp_path / "nginx", port, port, page.origin) as between:
            base = f"http://127.0.0.1:{between.port}"
            allowed = await page.run(script(base), page.origin, tmp_path / "allowed")

    assert allowed == SEEN
