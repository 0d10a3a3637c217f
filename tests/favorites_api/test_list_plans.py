"""Query plans of the lists: they use an index for every filter, and scale from thousands of rows to millions."""

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations
from typing import Any

import asyncpg
import databases
import pytest
import query_plans
from favorites_api import favorites
from favorites_api.tables import SCHEMA
from query_plans import COSTS, PlanRecorder, rows_read, scanned, used
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.http.lists.pagination import Page
from vapteke_shared.postgres import pools
from vapteke_shared.process.settings import PostgresSettings

FAVORITES = 80_000
LAST = datetime(2026, 11, 1, tzinfo=UTC)
NEW_ITEM = 1_000_001
INDEXES = {
    "id": "favorites_pkey",
    "user_id": "favorites_user_id_key",
    "item_id": "favorites_item_id_idx",
    "created_at": "favorites_created_at_idx",
    "created_at_from": "favorites_created_at_idx",
    "created_at_to": "favorites_created_at_idx",
}

# Of five years, in the order of time; the oldest have no instant. Some users (the first five most of all) and some
# items have many times more than the others; one item is new. Of the users, 2 % are deleted.
FILL = """
INSERT INTO favorites (user_id, item_id, created_at)
SELECT user_id, item_id, CASE WHEN n > $1 * 0.05 THEN $2::timestamptz - interval '5 years' * (1 - n::float / $1) END
FROM (
    SELECT user_id, item_id, min(n) AS n
    FROM (
        SELECT
            n,
            CASE WHEN n % 50 = 0 THEN n / 50 % 5 ELSE $1 / 20 * random() ^ 2 - 0.5 END::bigint + 1 AS user_id,
            CASE
                WHEN n > $1 * 0.999 THEN 1000000
                WHEN n % 50 = 0 THEN $1 / 250 * random() - 0.5
                ELSE $1 / 250 * random() ^ 3 - 0.5
            END::bigint + 1 AS item_id
        FROM generate_series(1, $1::bigint) AS n
    ) AS drawn
    GROUP BY user_id, item_id
) AS pairs
ORDER BY n
"""
DELETED = "INSERT INTO deleted_customers SELECT id, 2, now() FROM generate_series(7, $1::bigint / 20, 50) AS id"


async def fill(server: Postgres, name: str, number: int) -> None:
    owner = await asyncpg.connect(server.dsn_of(name), server_settings={"search_path": "favorites"})
    indexes = await owner.fetch("SELECT * FROM pg_indexes WHERE indexname ~ 'favorites_.*_(key|idx)'")
    for index in indexes:  # made last it takes half the time
        await owner.execute(f"DROP INDEX {index['indexname']}")
    await owner.execute("SELECT setseed(0.5)")
    await owner.execute(FILL, number, LAST, timeout=600)
    for index in indexes:
        await owner.execute(index["indexdef"], timeout=600)
    await owner.execute(DELETED, number)
    await owner.execute("VACUUM ANALYZE", timeout=600)
    await owner.close()


@pytest.fixture(scope="module")
async def full(postgres_server: Postgres, template: str) -> AsyncIterator[str]:
    async with databases.cloned(postgres_server, template) as name:
        await fill(postgres_server, name, FAVORITES)
        yield name


@pytest.fixture(params=COSTS)
async def connection(
    request: pytest.FixtureRequest, postgres_server: Postgres, full: str
) -> AsyncIterator[PlanRecorder]:
    dsn = postgres_server.dsn_of(full, "favorites_app", "app")
    connection = await query_plans.connect(dsn, "favorites", request.param)
    yield connection
    await connection.close()


@pytest.fixture
async def values(connection: PlanRecorder) -> dict[str, Any]:
    """A value for every filter, such as somebody would ask for."""
    rows = await connection.fetch("SELECT * FROM favorites WHERE id % 70 = 0 ORDER BY id LIMIT 1000")
    at = rows[-20]["created_at"]
    return {
        "id": [row["id"] for row in rows],
        "user_id": sorted({row["user_id"] for row in rows[:20]}),
        "item_id": sorted({row["item_id"] for row in rows[:20]}),
        "created_at": at,
        "created_at_from": at,
        "created_at_to": LAST - timedelta(days=1710),
    }


SHAPES: dict[str, dict[str, Any]] = {
    "first page": {},
    "deep page": {"after": FAVORITES - 5_000},
    "at an offset": {"offset": 20},
    "uncounted": {"counted": False},
}


@pytest.mark.parametrize("limit", [50, 1000])
async def test_no_filters_read_the_whole_table(connection: PlanRecorder, values: dict[str, Any], limit: int) -> None:
    seen = set()
    for filters in chain.from_iterable(combinations(values, number) for number in range(3)):
        for shape, options in SHAPES.items():
            await favorites.page(connection, {name: values[name] for name in filters}, limit, **options)
            if "favorites" in scanned(connection):
                seen.add((*filters, shape))

    assert seen == set()


async def test_every_filter_has_its_index(connection: PlanRecorder, values: dict[str, Any]) -> None:
    seen = {}
    for name in INDEXES:
        page = await favorites.page(connection, {name: values[name]}, 50)
        seen[name] = (used(connection) & set(INDEXES.values()), page.count is not None and page.count > 0)

    assert seen == {name: ({index}, True) for name, index in INDEXES.items()}


async def test_a_page_does_not_read_what_lies_before_it(connection: PlanRecorder) -> None:
    """Where all that match are the last of all ids, or of the most popular items."""
    heavy = await connection.fetchval("SELECT count(*) FROM favorites WHERE user_id <= 3")
    hidden = await connection.fetchrow(
        "SELECT array_agg(DISTINCT user_id) AS ids, count(*) FROM favorites"
        " WHERE user_id IN (SELECT customer_id FROM deleted_customers ORDER BY customer_id LIMIT 5)"
    )
    asked: list[tuple[dict[str, Any], int]] = [
        ({}, 60),
        ({"item_id": [NEW_ITEM]}, 60),
        ({"item_id": [1]}, 60),
        ({"item_id": [1, 2, 3]}, 180),
        ({"user_id": [1, 2, 3]}, heavy),
        ({"user_id": hidden["ids"]}, hidden["count"]),
        ({"created_at_from": LAST - timedelta(days=30)}, FAVORITES // 50),
        ({"created_at_from": LAST - timedelta(days=800), "created_at_to": LAST - timedelta(days=770)}, FAVORITES // 50),
        ({"item_id": [1, 2, 3], "created_at_from": LAST - timedelta(days=30)}, FAVORITES // 50),
    ]

    read = []
    for filters, _ in asked:
        await favorites.page(connection, filters, 50, counted=False)
        read.append(rows_read(connection, "favorites"))

    assert [bound for number, (_, bound) in zip(read, asked, strict=True) if not 0 < number <= bound] == [], read


async def test_a_filter_leaves_no_plan_behind(connection: PlanRecorder) -> None:
    """Postgres would take one plan for all values after five times."""
    for _ in range(7):
        await favorites.page(connection, {"item_id": [1]}, 50)

    kept = await connection.fetchval(
        "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ $1 AND statement !~ '^EXPLAIN'", "item_id = ANY"
    )
    assert kept == 0


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_nothing_else_reads_the_whole_table(connection: PlanRecorder, mode: str) -> None:
    await connection.execute(f"SET plan_cache_mode = {mode}")
    user, seen = FAVORITES, {}

    for items in ([1], list(range(1, 1001))):
        added = await favorites.add(connection, user, items)
        seen["added", len(items)] = scanned(connection)
        await favorites.find_items(connection, user, items)
        seen["held", len(items)] = scanned(connection)
        await favorites.delete(connection, [row["id"] for row in added])
        seen["deleted", len(items)] = scanned(connection)

    assert {case: tables for case, tables in seen.items() if "favorites" in tables} == {}


# Users, each with 20 items and the instant since when these are favorites.
ASKED = """
SELECT
    ARRAY[user_id] AS user_id, (array_agg(item_id ORDER BY id DESC))[:20] AS item_id,
    (array_agg(created_at ORDER BY id DESC))[20] AS created_at_from
FROM favorites WHERE created_at IS NOT NULL AND user_id NOT IN (SELECT customer_id FROM deleted_customers)
GROUP BY user_id HAVING count(*) BETWEEN 25 AND 500 ORDER BY user_id DESC LIMIT 50
"""


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_a_page_of_five_million_favorites_takes_as_long_as_one_of_fifty_thousand(
    postgres_server: Postgres, template: str
) -> None:
    async with AsyncExitStack() as stack:
        sizes = (50_000, 5_000_000)
        pools = {size: await stack.enter_async_context(grown(postgres_server, template, size)) for size in sizes}
        asked = {size: await pool.fetch(ASKED, timeout=120) for size, pool in pools.items()}
        scans = [await times_scanned(pool) for pool in pools.values()]
        filtered: dict[int, list[float]] = {size: [] for size in sizes}
        of_all: dict[int, list[float]] = {size: [] for size in sizes}
        for turn in range(1_000):
            for size, pool in pools.items():
                page = await timed(pool, filtered[size], dict(asked[size][turn % 50]), 50)
                assert (len(page.rows), page.count) == (20, 20)
                page = await timed(pool, of_all[size], {}, 50, after=size // 2, counted=False)
                assert len(page.rows) == 50
        assert [await times_scanned(pool) for pool in pools.values()] == scans

    medians = {size: (statistics.median(filtered[size]), statistics.median(of_all[size])) for size in sizes}
    (small, small_of_all), (large, large_of_all) = medians.values()
    assert large < 1.5 * small, medians
    assert large_of_all < 1.5 * small_of_all, medians


async def timed(pool: asyncpg.Pool, seconds: list[float], *asked: Any, **options: Any) -> Page:
    async with pool.acquire() as connection:
        started = time.perf_counter()
        page = await favorites.page(connection, *asked, **options)
        seconds.append(time.perf_counter() - started)
    return page


@asynccontextmanager
async def grown(server: Postgres, template: str, number: int) -> AsyncIterator[asyncpg.Pool]:
    """The service's own way to so many favorites, by one connection."""
    async with databases.cloned(server, template) as name:
        await fill(server, name, number)
        settings = PostgresSettings(**databases.place(server, SCHEMA, name))
        async with pools.create_pool(settings, SCHEMA, 1) as pool:
            yield pool


async def times_scanned(pool: asyncpg.Pool) -> int:
    """How often the pool's connection, or another, has read the table in sequence."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    return int(await pool.fetchval("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'favorites'"))
