"""How Postgres runs the lists: by an index, whatever is asked for; and what the indexes cost who writes."""

import statistics
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import combinations, islice
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import query_plans
from customers_api.customers import queries
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from legacy_events import CLUSTER, records, start_import
from legacy_importer import translate
from legacy_importer.settings import Genders
from legacy_importer.translate import Context, LegacyRow
from query_plans import COSTS, PlanRecorder, nodes, scanned, used
from vapteke_local import people
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health

CUSTOMERS, BATCH = 100_000, 5_000
INDEXES = {
    "phone": "customers_living_phone_key",
    "email": "customers_email_idx",
    "firstname": "customers_firstname_id_idx",
    "lastname": "customers_lastname_idx",
    "city_id": "customers_city_id_idx",
    "gender": "customers_birthday_idx",
    "birthday_from": "customers_birthday_idx",
    "birthday_to": "customers_birthday_idx",
    "id": "customers_pkey",
    "updated_since": "customers_updated_at_idx",
}


FILL = """
WITH new AS (
    INSERT INTO phones (code, number) SELECT '7', (9000000000 + n)::text FROM generate_series(1, $1) n RETURNING id
)
INSERT INTO customers (phone_id, phone_from, version, lastname, email, birthday, gender, city_id)
SELECT
    id, 'import', 1, 'Иванов' || id % 5000, format('c%s@example.com', id), date '1950-01-01' + (id % 20000)::int,
    CASE id % 2 WHEN 0 THEN 'F' ELSE 'M' END, id % 100
FROM new
"""


@pytest.fixture(scope="module")
async def full(
    postgres_server: Postgres, template: str, settings_of: Callable[[str], WorkSettings]
) -> AsyncIterator[str]:
    """A database with what an import of made-up people leaves, some of them deleted since, and changed."""
    root = await asyncpg.connect(postgres_server.dsn)
    await root.execute(f"CREATE DATABASE customers_full TEMPLATE {template}")
    settings = settings_of("customers_full")
    async with pools.create_pool(settings, SCHEMA, 2) as pool:
        await import_people(ImportConsumers(settings, pool, Health()), pool)
        await pool.execute("UPDATE customers SET deleted_at = now(), updated_at = now() WHERE id % 40 = 0")
        await pool.execute("UPDATE customers SET updated_at = now() WHERE id % 500 = 1")
    everybodys = await asyncpg.connect(postgres_server.dsn_of("customers_full"))
    await everybodys.execute("VACUUM ANALYZE")
    await everybodys.close()
    yield "customers_full"
    await root.execute("DROP DATABASE customers_full WITH (FORCE)")
    await root.close()


async def import_people(consumers: ImportConsumers, pool: asyncpg.Pool) -> None:
    genders = translate.spellings({"M": Genders().M, "F": Genders().F})
    context = Context(await start_import(pool), 0, uuid4(), datetime.now(UTC), ZoneInfo("UTC"), genders)
    events = (translate.to_event(LegacyRow(*person), context) for person in people.generate(1, CUSTOMERS))
    for start in range(0, CUSTOMERS, BATCH):
        await consumers.apply_legacy(records(islice(events, BATCH), start), CLUSTER, {})


@pytest.fixture(params=COSTS)
async def connection(
    request: pytest.FixtureRequest, postgres_server: Postgres, full: str
) -> AsyncIterator[PlanRecorder]:
    dsn = postgres_server.dsn_of(full, "customers_app", "app")
    connection = await query_plans.connect(dsn, "customers", request.param)
    yield connection
    await connection.close()


@pytest.fixture
async def values(connection: PlanRecorder) -> dict[str, Any]:
    """A value for every filter, such as somebody would ask for."""
    row = await connection.fetchrow(
        "SELECT c.id, p.digits, c.email, f.name, c.lastname, c.birthday, c.city_id,"
        " (SELECT max(updated_at) FROM customers) AS changed_at,"
        " (SELECT array_agg(id) FROM customers WHERE id % 90 = 0) AS ids"
        " FROM customers c JOIN phones p ON p.id = c.phone_id JOIN firstnames f ON f.id = c.firstname_id"
        " WHERE num_nulls(c.email, c.lastname, c.birthday, c.city_id) = 0 AND c.deleted_at IS NULL"
        " ORDER BY c.id OFFSET 5000 LIMIT 1"
    )
    return {
        "phone": row["digits"],
        "email": row["email"].upper(),
        "firstname": row["name"][:3].upper(),
        "lastname": row["lastname"][:4].lower(),
        "city_id": row["city_id"],
        "gender": "F",
        "birthday_from": row["birthday"].replace(month=1, day=1),
        "birthday_to": row["birthday"].replace(month=12, day=31),
        "id": row["ids"][:1000],
        "updated_since": row["changed_at"],
        "include_deleted": True,
    }


SHAPES: dict[str, dict[str, Any]] = {
    "first page": {},
    "deep page": {"after": CUSTOMERS - 500},
    "at an offset": {"offset": 20},
    "uncounted": {"counted": False},
}


@pytest.mark.parametrize("limit", [50, 1000])
async def test_no_filter_reads_a_whole_table(connection: PlanRecorder, values: dict[str, Any], limit: int) -> None:
    seen = {}
    for name, value in values.items():
        for deleted in ({}, {"include_deleted": True}):
            for shape, options in SHAPES.items():
                await queries.page(connection, {name: value, **deleted}, limit, **options)
                seen[name, shape, *deleted] = scanned(connection)

    assert {case: tables for case, tables in seen.items() if tables} == {}


async def test_no_two_filters_read_a_whole_table(connection: PlanRecorder, values: dict[str, Any]) -> None:
    seen = {}
    for pair in combinations(values.items(), 2):
        for shape in ("first page", "deep page"):
            await queries.page(connection, dict(pair), 50, **SHAPES[shape])
            seen[pair[0][0], pair[1][0], shape] = scanned(connection)

    assert {case: tables for case, tables in seen.items() if tables} == {}


async def test_every_filter_has_its_index(connection: PlanRecorder, values: dict[str, Any]) -> None:
    seen = {}
    for name in INDEXES:
        page = await queries.page(connection, {name: values[name]}, 50)
        seen[name] = (INDEXES[name] if INDEXES[name] in used(connection) else used(connection), bool(page.count))

    assert seen == {name: (index, True) for name, index in INDEXES.items()}


async def test_a_deleted_customers_phone_is_found_by_an_index(connection: PlanRecorder) -> None:
    digits = await connection.fetchval(
        "SELECT digits FROM customers c JOIN phones p ON p.id = c.phone_id WHERE c.deleted_at IS NOT NULL LIMIT 1"
    )

    page = await queries.page(connection, {"phone": digits, "include_deleted": True}, 50)

    assert (page.count, scanned(connection)) == (1, [])
    assert {"customers_deleted_phone_id_idx", "customers_living_phone_key"} <= used(connection)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_a_list_of_all_takes_its_ids_from_an_index_alone(connection: PlanRecorder, mode: str) -> None:
    await connection.execute(f"SET plan_cache_mode = {mode}")
    options = [*SHAPES.values(), {"offset": CUSTOMERS - 5_000}]

    plans = []
    for limit in (50, 1000):
        for each in options:
            await queries.page(connection, {}, limit, **each)
            ids = [node for node in nodes(connection.plan) if node.get("Index Name") == "customers_living_id_idx"]
            plans.append((scanned(connection), [node["Node Type"] for node in ids]))

    assert plans == [([], ["Index Only Scan"])] * len(plans)


async def test_the_lookup_reads_no_whole_table(connection: PlanRecorder, values: dict[str, Any]) -> None:
    rows = await connection.fetch("SELECT digits FROM phones WHERE id % 90 = 0 LIMIT 1000")
    tables = []

    await queries.find_by_phones(connection, [row["digits"] for row in rows])
    tables += scanned(connection)
    await queries.find_by_ids(connection, values["id"])
    tables += scanned(connection)

    assert (len(rows), tables) == (1000, [])


async def test_what_an_import_updates_most_stays_on_its_page(connection: PlanRecorder) -> None:
    """HOT: no index gets a new entry. A visit to the shop changes last_auth_at, and nothing that is indexed."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE customers SET last_auth_at = now(), updated_at = now(), version = version + 1 WHERE id % 200 = 7"
        )
        counted = await connection.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'customers'"
        )

    assert counted["n_tup_hot_upd"] > 0.95 * counted["n_tup_upd"] > 400


async def test_the_counts_of_an_import_are_those_of_the_table(connection: PlanRecorder) -> None:
    pages = [await queries.page(connection, filters, 1) for filters in ({}, {"include_deleted": True})]

    true = await connection.fetchrow("SELECT count(*) FILTER (WHERE deleted_at IS NULL), count(*) FROM customers")
    assert [page.count for page in pages] == list(true)


async def test_a_filter_leaves_no_plan_behind(connection: PlanRecorder, values: dict[str, Any]) -> None:
    """Postgres would take one plan for all values after five times."""
    for _ in range(7):
        await queries.page(connection, {"gender": "F"}, 50)

    kept = await connection.fetchval(
        "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ $1 AND statement !~ '^EXPLAIN'", "gender ="
    )
    assert kept == 0


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_the_last_page_of_a_million_takes_as_long_as_the_first(pool: asyncpg.Pool) -> None:
    await pool.execute(FILL, 1_000_000, timeout=600)
    last = await pool.fetchval("SELECT max(id) FROM customers") - 50
    seconds: dict[int, list[float]] = {0: [], last: []}

    async with pool.acquire() as connection:
        for turn in range(400):
            after = (0, last)[turn % 2]
            started = time.perf_counter()
            page = await queries.page(connection, {}, 50, after=after)
            seconds[after].append(time.perf_counter() - started)
            assert (len(page.rows), page.count) == (50, 1_000_000)

    assert statistics.median(seconds[last]) < 1.5 * statistics.median(seconds[0])
