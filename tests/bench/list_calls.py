"""Calls that read customers, and how long each takes with few and with many customers: one call at a time."""

import http.client
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
from checkouts import RunningStack

PATH, LIMIT = "/rest/v1/customers/", 50
OFFSET = "page at an offset of a tenth"
_REPEATS, _MOST_SECONDS = 15, 10.0


Call = Callable[[], Awaitable[float]]
"""Returns the seconds that it took."""


class Caller:
    """One connection to a stack, and the calls with values that suit its customers."""

    def __init__(self, stack: RunningStack, targets: Mapping[str, str]) -> None:
        self._stack, self.targets = stack, targets
        self._connection = http.client.HTTPConnection(urlsplit(stack.customers_api).netloc, timeout=600)
        self.matches: dict[str, int] = {}
        """How many customers match, by the names of the calls that count them."""

    async def call(self, name: str) -> float:
        """Nothing else runs meanwhile, so it may block."""
        started = time.perf_counter()
        self._connection.request("GET", self.targets[name], headers={"Authorization": f"Bearer {self._stack.token}"})
        response = self._connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - started
        if response.status != 200:
            raise SystemExit(f"{self.targets[name]}: {response.status} {body.decode()}")
        if (count := json.loads(body).get("count")) is not None:
            self.matches[name] = count
        return seconds


async def caller(stack: RunningStack, connection: asyncpg.Connection, count: int) -> Caller:
    sample = await connection.fetchrow(_SAMPLE, count // 2)
    targets = {
        "GET one": f"{PATH}{sample['id']}/",
        **_pages("first page"),
        **_pages(OFFSET, offset=count // 10),
        "last page by its cursor": await _last_page(stack, count),
    }
    for name, values in _filters(sample).items():
        targets.update(_pages(f"filter {name}", **values))
    return Caller(stack, targets)


def _filters(sample: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A value of each filter, such as somebody would ask for."""
    birthday, first_id = sample["birthday"], sample["id"]
    return {
        "phone": {"phone": sample["digits"]},
        "email": {"email": sample["email"]},
        "firstname": {"firstname": sample["firstname"][:4]},
        "lastname": {"lastname": sample["lastname"]},
        "city_id": {"city_id": sample["city_id"]},
        "gender": {"gender": sample["gender"]},
        "birthday, a month": {"birthday_from": birthday.replace(day=1), "birthday_to": birthday.replace(day=28)},
        "id, 50 of them": {"id": list(range(first_id, first_id + LIMIT))},
        "updated_since": {"updated_since": sample["changed_at"].isoformat().replace("+00:00", "Z")},
        "include_deleted": {"include_deleted": "true"},
        "lastname and gender": {"lastname": sample["lastname"], "gender": sample["gender"]},
    }


def _pages(name: str, **values: Any) -> dict[str, str]:
    """The page with the count, and without."""
    targets = {name: {}, f"{name}, not counted": {"count": "false"}}
    return {
        each: f"{PATH}?{urlencode({'limit': LIMIT, **values, **more}, doseq=True)}" for each, more in targets.items()
    }


async def _last_page(stack: RunningStack, count: int) -> str:
    answer = await stack.client.get(PATH, params={"limit": LIMIT, "offset": count - 2 * LIMIT}, timeout=600)
    return str(answer.links["next"]["url"])


async def seconds(calls: Sequence[Call]) -> list[float]:
    """The median of each, when they take turns; each once before, to warm up."""
    for call in calls:
        await call()
    taken: list[list[float]] = [[] for _ in calls]
    started = time.monotonic()
    while len(taken[0]) < _REPEATS and (len(taken[0]) < 3 or time.monotonic() - started < _MOST_SECONDS):
        turn = list(enumerate(calls))
        for number, call in turn if len(taken[0]) % 2 == 0 else turn[::-1]:
            taken[number].append(await call())
    return [statistics.median(each) for each in taken]


def plain(connection: asyncpg.Connection, offset: int) -> Call:
    """The query of the page at this offset as one would write it at first, without a count."""

    async def call() -> float:
        started = time.perf_counter()
        await connection.fetch(_PLAIN, LIMIT, offset)
        return time.perf_counter() - started

    return call


_PLAIN = """
SELECT c.id, c.phone_id, p.code, p.number, f.name AS firstname, c.lastname, c.email, c.birthday
FROM customers c LEFT JOIN phones p ON p.id = c.phone_id LEFT JOIN firstnames f ON f.id = c.firstname_id
WHERE c.deleted_at IS NULL ORDER BY c.id LIMIT $1 OFFSET $2
"""

_SAMPLE = """
SELECT
    c.id, p.digits, c.email, f.name AS firstname, c.lastname, c.birthday, c.gender, c.city_id,
    (SELECT updated_at FROM customers ORDER BY id DESC OFFSET 100 LIMIT 1) AS changed_at
FROM customers c JOIN phones p ON p.id = c.phone_id JOIN firstnames f ON f.id = c.firstname_id WHERE c.id = $1
"""
