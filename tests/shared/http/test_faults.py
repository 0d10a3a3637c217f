"""What cannot be understood is answered briefly and cheaply, however much of it there is."""

import json
import time
from collections.abc import Awaitable, Callable

import contracts
import httpx
import pytest
from tokens_for import bearer
from vapteke_shared.contract.limits import BODY_BYTES

APPS = contracts.apps()
CUSTOMERS, BULK, FAVORITES = "/rest/v1/customers/", "/rest/v1/favorites/bulk/", "/rest/v1/favorites/"
SMALL_ANSWER = 4096
TWENTY = ", ".join(f"k{number}" for number in range(20))


def client(service: str) -> httpx.AsyncClient:
    headers = {**bearer(), "content-type": "application/json"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(APPS[service]), base_url="http://test", headers=headers)


async def refused(service: str, method: str, url: str, body: object = None) -> dict[str, object]:
    """The problem; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    assert len(content or b"") <= BODY_BYTES
    async with client(service) as asking:
        answer = await asking.request(method, url, content=content)
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < SMALL_ANSWER
    return dict(answer.json())


def unknown(count: int) -> dict[str, int]:
    return {f"k{number}": 1 for number in range(count)}


@pytest.mark.parametrize(
    ("service", "method", "url"),
    [
        ("customers-api", "POST", CUSTOMERS),
        ("customers-api", "PATCH", f"{CUSTOMERS}1/"),
        ("customers-api", "POST", f"{CUSTOMERS}lookup/"),
        ("favorites-api", "POST", BULK),
        ("favorites-api", "DELETE", FAVORITES),
    ],
)
async def test_unknown_fields_are_one_fault_beside_the_others(service: str, method: str, url: str) -> None:
    body = {**unknown(20_000), "ids": ["x"]} if "lookup" in url else unknown(20_000)

    problem = await refused(service, method, url, body)

    found = {fault["pointer"]: fault["detail"] for fault in problem["errors"]}  # type: ignore[attr-defined]
    assert found["/body"] == f"Unknown fields: {TWENTY} and 19980 more"
    assert (
        found.keys() - {"/body", "/body/phone", "/body/ids/0", "/body/user_id", "/body/item_ids", "/body/id"} == set()
    )


async def test_unknown_parameters_are_one_fault_beside_the_others() -> None:
    query = "&".join(unknown(3000))

    problem = await refused("customers-api", "GET", f"{CUSTOMERS}?limit=0&{query}")

    assert problem["errors"] == [
        {"pointer": "/query/limit", "detail": "Input should be greater than or equal to 1"},
        {"pointer": "/query", "detail": f"Unknown fields: {TWENTY} and 2980 more"},
    ]


@pytest.mark.parametrize(
    ("service", "url", "body", "more"),
    [
        ("favorites-api", BULK, {"user_id": 1, "item_ids": ["x"] * 1000}, 980),
        ("favorites-api", f"{FAVORITES}check/", {"user_id": 1, "item_ids": [[]] * 500}, 480),
        ("customers-api", f"{CUSTOMERS}lookup/", {"phones": ["x"] * 1000}, 980),
        ("customers-api", f"{CUSTOMERS}lookup/", {"ids": [{}] * 1000}, 980),
    ],
)
async def test_twenty_faults_are_listed_and_the_others_counted(service: str, url: str, body: object, more: int) -> None:
    problem = await refused(service, "POST", url, body)

    assert problem["detail"] == f"The request is invalid; see errors. There are {more} more."
    assert len(problem["errors"]) == 20  # type: ignore[arg-type]


async def test_twenty_faults_of_a_query_are_listed_and_the_others_counted() -> None:
    problem = await refused("customers-api", "GET", f"{CUSTOMERS}?{'id=x&' * 1000}")

    assert problem["detail"] == "The request is invalid; see errors. There are 980 more."


PHONE = b'{"phone": "79025163111", "city_id": '


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("GET", f"{CUSTOMERS}?{'a&' * 24_000}", None),
        ("GET", f"{CUSTOMERS}?{'a' * 48_000}=1", None),
        ("GET", f"{CUSTOMERS}?limit={'1' * 48_000}", None),
        ("GET", f"{CUSTOMERS}?cursor={'a' * 48_000}", None),
        ("GET", f"{CUSTOMERS}{'9' * 48_000}/", None),
        ("POST", CUSTOMERS, {"k" * 200_000: 1}),
        ("POST", CUSTOMERS, {"k" * 100_000: 1, "l" * 100_000: 1}),
        ("POST", CUSTOMERS, {"phone": "9" * 200_000}),
        ("POST", CUSTOMERS, {"phone": ["9"] * 50_000}),
        ("POST", CUSTOMERS, [1] * 80_000),
        ("POST", CUSTOMERS, b"[" * BODY_BYTES),
        ("POST", CUSTOMERS, b'{"a":' * 50_000),
        ("POST", CUSTOMERS, b'{"phone": ' + b"[" * 900 + b"]" * 900 + b"}"),
        ("POST", CUSTOMERS, PHONE + b"NaN}"),
        ("POST", CUSTOMERS, PHONE + b"-Infinity}"),
        ("POST", CUSTOMERS, PHONE + b"1e999}"),
        ("POST", CUSTOMERS, PHONE + b"1e308}"),
        ("POST", CUSTOMERS, PHONE + b"9" * 4_000 + b"}"),
        ("POST", CUSTOMERS, PHONE + b"9" * 200_000 + b"}"),
        ("POST", CUSTOMERS, b'{"\\ud800": 1, "\\udfff": 1}'),
        ("PATCH", f"{CUSTOMERS}1/", {"phone": "9" * 200_000}),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_invalid_request_gets_a_small_response(method: str, url: str, body: object) -> None:
    problem = await refused("customers-api", method, url, body)

    assert problem["code"] == "invalid_request"


@pytest.mark.parametrize(("service", "url"), [("customers-api", CUSTOMERS), ("favorites-api", FAVORITES)])
async def test_a_cache_buster_alone_is_ignored(service: str, url: str) -> None:
    problem = await refused(service, "GET", f"{url}?limit=0&_=1700000000000&_=1")
    others = await refused(service, "GET", f"{url}?utm_source=mail&__=1&_=1")

    assert [fault["pointer"] for fault in problem["errors"]] == ["/query/limit"]  # type: ignore[attr-defined]
    assert others["errors"] == [{"pointer": "/query", "detail": "Unknown fields: utm_source, __"}]


async def seconds(call: Callable[[], Awaitable[object]]) -> float:
    """The best of some runs."""
    taken = []
    for _ in range(5):
        begun = time.process_time()
        await call()
        taken.append(time.process_time() - begun)
    return min(taken)


async def test_thousands_of_unknown_fields_cost_little_more_than_one() -> None:
    """Of the same size: to read the JSON is the same."""
    many, one = unknown(20_000), {"k" * 240_000: 1}

    costly = await seconds(lambda: refused("customers-api", "POST", CUSTOMERS, many))
    read = await seconds(lambda: _read(many))
    cheap = await seconds(lambda: refused("customers-api", "POST", CUSTOMERS, one))

    assert costly < 5 * (cheap + read)


async def _read(body: object) -> object:
    return json.loads(json.dumps(body))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{bad", "This is not JSON: Expecting property name enclosed in double quotes at character 1"),
        (b'{"firstname": "Sesame}', "This is not JSON: Unterminated string starting at at character 14"),
        (b"", "Field required"),
    ],
)
async def test_the_error_for_a_body_that_is_not_json_says_where_and_shows_no_content(body: bytes, detail: str) -> None:
    problem = await refused("customers-api", "POST", CUSTOMERS, body)

    assert problem["errors"] == [{"pointer": "/body", "detail": detail}]
