"""Lists of favorites: every combination of filters against a plain Python model, instants, and paging by `Link`."""

import random
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain, combinations
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import asyncpg
import httpx
import pytest

URL = "/rest/v1/favorites/"
PLUSSES = [f"2023-12-21T09:20:37.024{offset}" for offset in (" 0500", " 05:00", " 05", "%2B05", "+05")]
AT = datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DELETED, RESTORED = (3, 7), 5
FILTERS = ("id", "user_id", "item_id", "created_at", "created_at_from", "created_at_to")


class Row(NamedTuple):
    id: int
    user_id: int
    item_id: int
    created_at: datetime | None

    @property
    def shown_at(self) -> datetime | None:
        at = self.created_at
        return at and at.replace(microsecond=at.microsecond // 1000 * 1000)

    def shown(self) -> dict[str, Any]:
        at = self.shown_at
        return {**self._asdict(), "created_at": at and at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"}


def meets(row: Row, filters: Mapping[str, Any]) -> bool:
    """The model."""
    at = row.shown_at
    rules = {
        "id": lambda given: row.id in given,
        "user_id": lambda given: row.user_id in given,
        "item_id": lambda given: row.item_id in given,
        "created_at": lambda given: at is not None and at == given,
        "created_at_from": lambda given: at is not None and at >= given,
        "created_at_to": lambda given: at is not None and at <= given,
    }
    return row.user_id not in DELETED and all(rules[name](given) for name, given in filters.items())


@pytest.fixture
async def rows(pool: asyncpg.Pool) -> list[Row]:
    """400, in the order of their ids: old ones without an instant, others to the microsecond, many close together."""
    dice = random.Random(5)
    pairs = dice.sample([(user, item) for user in range(1, 21) for item in range(1, 41)], 400)
    ids = sorted(dice.sample(range(1, 2000), 400))
    rows = [Row(one, *pair, instant(dice)) for one, pair in zip(ids, pairs, strict=True)]
    await pool.copy_records_to_table("favorites", records=rows, columns=Row._fields)
    statement = "INSERT INTO deleted_customers (customer_id, version, deleted_at) VALUES ($1, 2, $2)"
    await pool.executemany(statement, [*((user, AT) for user in DELETED), (RESTORED, None)])
    return rows


def instant(dice: random.Random) -> datetime | None:
    microseconds = dice.choice((0, 1, 500, 999))
    at = AT + dice.randrange(-20, 20) * MILLISECOND + timedelta(microseconds=microseconds)
    return None if dice.random() < 0.2 else at


def drawn(dice: random.Random, names: tuple[str, ...], rows: list[Row]) -> dict[str, Any]:
    """Filters of these names that one of the rows meets, unless it is hidden or has no instant."""
    goal = dice.choice(rows)
    at = goal.shown_at or AT
    values = {
        "id": [goal.id, *(row.id for row in dice.choices(rows, k=dice.choice((0, 200))))],
        "user_id": [goal.user_id, *dice.choices(range(1, 25), k=dice.choice((0, 8)))],
        "item_id": [goal.item_id, *dice.choices(range(1, 45), k=dice.choice((0, 20)))],
        "created_at": at,
        "created_at_from": at - dice.choice((0, 0, 1, 10)) * MILLISECOND,
        "created_at_to": at + dice.choice((0, 0, 1, 10)) * MILLISECOND,
    }
    return {name: values[name] for name in names}


def written(dice: random.Random, filters: Mapping[str, Any]) -> str:
    """As a query, in any order of its parameters."""
    given = [
        (name, text)
        for name, value in filters.items()
        for text in (map(str, value) if isinstance(value, list) else [dice.choice(notations(value))])
    ]
    dice.shuffle(given)
    return "&".join(f"{name}={text}" for name, text in given)


def notations(at: datetime) -> list[str]:
    """Of one instant: in UTC, with offsets, the last one with a plus that is not encoded."""
    plain = at.replace(tzinfo=None).isoformat(timespec="milliseconds")
    east = at.astimezone(timezone(timedelta(hours=3))).isoformat(timespec="milliseconds")
    west = at.astimezone(timezone(timedelta(hours=-9, minutes=-30))).isoformat(timespec="microseconds")
    return [plain, f"{plain}Z", plain.replace("T", "%20"), quote(east), west, east]


async def walked(client: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """The answers, led from one to the next by `Link`."""
    pages = []
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, f"{url}: {answer.text}"
        pages.append(answer.json())
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        url = link[1] if link else ""
    return pages


def subsets() -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(FILTERS, size) for size in range(len(FILTERS) + 1))


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_filters_together_show_what_the_model_shows(
    client: httpx.AsyncClient, rows: list[Row], seed: int
) -> None:
    dice = random.Random(seed)
    met = {}

    for names in subsets():
        for _ in range(4):
            filters, limit, counted = drawn(dice, names, rows), dice.choice((3, 7, 50, 319, 1000)), dice.random() < 0.8
            offset = dice.choice((0, 0, 0, 1, 10))
            rest = urlencode({"limit": limit, "offset": offset, "count": str(counted).lower()})
            query = f"{written(dice, filters)}&{rest}".lstrip("&")

            pages = await walked(client, f"{URL}?{query}")

            expected = [row.shown() for row in rows if meets(row, filters)]
            items = [item for page in pages for item in page["items"]]
            assert items == expected[offset:], query
            assert [len(page["items"]) for page in pages[:-1]] == [limit] * (len(pages) - 1), query
            assert len(pages) == max(1, -(-len(items) // limit)), query
            assert [page.get("count") for page in pages] == [len(expected) if counted else None] * len(pages), query
            met[names] = max(met.get(names, 0), len(expected))
    assert min(met.values()) > 0
    assert len(met) == 64


async def test_an_answers_instant_finds_its_favorite(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    await client.post(URL, json={"user_id": 14722, "item_id": 10})
    at = AT + timedelta(microseconds=999)
    await pool.executemany(
        "INSERT INTO favorites (user_id, item_id, created_at) VALUES (14722, $1, $2)",
        [(11, at - MILLISECOND), (12, at), (13, at + timedelta(microseconds=1)), (14, None)],
    )
    items = (await client.get(URL)).json()["items"]

    found = {
        item["item_id"]: [each["item_id"] for each in (await walked(client, f"{URL}?created_at={shown}"))[0]["items"]]
        for item in items
        if (shown := item["created_at"])
    }

    assert found == {10: [10], 11: [11], 12: [12], 13: [13]}
    assert items[2]["created_at"] == "2023-12-21T04:20:37.024Z"


@pytest.mark.parametrize("text", [*notations(AT), "2023-12-21t04:20:37.024999z", *PLUSSES])
async def test_an_instant_is_read_with_any_offset(client: httpx.AsyncClient, pool: asyncpg.Pool, text: str) -> None:
    statement = "INSERT INTO favorites (user_id, item_id, created_at) VALUES (1, $1, $2)"
    await pool.executemany(statement, [(10 + step, AT + step * MILLISECOND) for step in (-1, 0, 1)])

    found = [
        [item["item_id"] for item in (await client.get(f"{URL}?created_at{suffix}={text}")).json()["items"]]
        for suffix in ("", "_from", "_to")
    ]

    assert found == [[10], [10, 11], [9, 10]]


@pytest.mark.parametrize("text", ["2023-12-21 04:20", "2023-12-21T09:20+05", "2023-12-21 07:20 03:00"])
async def test_an_instant_may_end_at_its_minutes(client: httpx.AsyncClient, pool: asyncpg.Pool, text: str) -> None:
    at = datetime(2023, 12, 21, 4, 20, tzinfo=UTC)
    await pool.execute("INSERT INTO favorites (user_id, item_id, created_at) VALUES (1, 10, $1)", at)

    assert (await client.get(f"{URL}?created_at={text}")).json()["count"] == 1


async def test_a_walk_misses_none_when_others_come_and_go(client: httpx.AsyncClient, rows: list[Row]) -> None:
    shown = [row for row in rows if meets(row, {})]
    first = await client.get(f"{URL}?limit=40")

    gone = [row.id for row in shown[20:60]]
    await client.request("DELETE", URL, json={"id": gone})
    await client.post(URL, json={"user_id": 99, "item_id": 1})  # its id is below: the ids here were given by hand
    rest = await walked(client, first.headers["link"][1:].partition(">")[0])

    ids = [item["id"] for page in rest for item in page["items"]]
    assert ids == [row.id for row in shown[60:]]
    assert {page["count"] for page in rest} == {len(shown) - 39}


async def test_a_cursor_continues_only_what_it_was_made_for(client: httpx.AsyncClient, rows: list[Row]) -> None:
    since = "created_at_from=2023-12-21T04:20:37Z"
    first = await client.get(f"{URL}?user_id=1&user_id=2&{since}&limit=2")
    [cursor] = re.findall(r"cursor=([^&>]+)", first.headers["link"])
    filters = {"user_id": [1, 2], "created_at_from": AT.replace(microsecond=0)}

    elsewhere = "created_at_from=2023-12-21 07:20:37.0004%2B0300"  # the same instant
    same = await client.get(f"{URL}?{elsewhere}&user_id=2&user_id=1&user_id=1&cursor={cursor}")
    others = [
        await client.get(f"{URL}?{query}&cursor={cursor}")
        for query in (
            "limit=2",
            "user_id=1&user_id=2",
            f"user_id=1&{since}",
            f"user_id=1&user_id=2&{since.replace('from', 'to')}",
            f"user_id=1&user_id=2&{since}&item_id=1",
        )
    ]

    assert same.json()["items"] == [row.shown() for row in rows if meets(row, filters)][2:]
    assert [(other.status_code, other.json()["errors"][0]["pointer"]) for other in others] == [
        (422, "/query/cursor")
    ] * len(others)


@pytest.mark.parametrize("query", ["offset=9223372036854775807", "user_id=1&offset=1000", "offset=400&limit=1"])
async def test_behind_the_last_favorite_the_count_is_still_right(
    client: httpx.AsyncClient, rows: list[Row], query: str
) -> None:
    filters = {"user_id": [1]} if "user_id" in query else {}

    answer = await client.get(f"{URL}?{query}")

    assert answer.json() == {"items": [], "count": sum(meets(row, filters) for row in rows)}
    assert "link" not in answer.headers
