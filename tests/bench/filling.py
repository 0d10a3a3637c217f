"""Fills the tables of customers-api by SQL: as many made-up customers as wanted, in minutes."""

import time
from collections.abc import Sequence

import asyncpg
from vapteke_local.people.names import FEMALE, MALE, SURNAMES
from vapteke_shared.contract import texts

FIRST_LEGACY_ID = 1_000_000_000
"""Of the filled mirror rows: above those of the made-up people of a stand-in."""
_BUILD_MEMORY = "1GB"


async def fill(connection: asyncpg.Connection, count: int) -> float:
    """Fill the empty tables as a superuser, and return the seconds that it took.

    Each customer has a phone and its mirror row; some share a first name, as in production. Triggers and foreign keys
    sleep meanwhile, the indexes for lists are built at the end from their own definitions, and the statistics are those
    that autovacuum would have made.
    """
    started = time.monotonic()
    firstnames, surnames = sorted({*MALE.split(), *FEMALE.split()}), SURNAMES.split()
    await connection.execute("SET session_replication_role = replica")
    async with connection.transaction():
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        await connection.execute(_FIRSTNAMES, firstnames)
        await connection.execute(_PHONES, count)
        await connection.execute(_CUSTOMERS, len(firstnames), surnames, count)
        await connection.execute(_MIRROR, FIRST_LEGACY_ID)
        await connection.execute("INSERT INTO customer_counts (living, deleted) VALUES ($1, 0)", count)
        await connection.execute(_ALL_REREAD, texts.VERSION)
        await _build(connection, [index["definition"] for index in indexes])
    await connection.execute("SET session_replication_role = origin")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    return time.monotonic() - started


async def take_back_imported(connection: asyncpg.Connection, count: int) -> None:
    """Delete what was imported on top of the filled rows, so that it is new again. Phones have no index for this."""
    async with connection.transaction():
        await connection.execute("DELETE FROM legacy_customers WHERE customer_id > $1", count)
        await connection.execute("DELETE FROM customers WHERE id > $1", count)
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("DELETE FROM phones WHERE id > $1", count)


async def _build(connection: asyncpg.Connection, definitions: Sequence[str]) -> None:
    await connection.execute(f"SET LOCAL maintenance_work_mem = '{_BUILD_MEMORY}'")
    for definition in definitions:
        await connection.execute(definition)


# Those of constraints stay: their keys ascend, and so cost little.
_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
WHERE indrelid IN ('customers'::regclass, 'legacy_customers'::regclass)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""

_FIRSTNAMES = "INSERT INTO firstnames (name) SELECT unnest($1::text[])"

_PHONES = "INSERT INTO phones (code, number) SELECT '7', (8000000000 + n)::text FROM generate_series(1, $1) n"

# The first was changed last a year ago or earlier, the last one yesterday.
_CUSTOMERS = """
INSERT INTO customers (
    phone_id, phone_from, version, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at, created_at,
    updated_at
)
SELECT
    p.id, 'import', 1, 1 + p.id % $1, ($2::text[])[1 + p.id % cardinality($2)], format('c%s@example.com', p.id),
    date '1950-01-01' + (p.id % 20000)::int, CASE p.id % 2 WHEN 0 THEN 'F' ELSE 'M' END, p.id % 100,
    timestamptz '2024-01-01 00:00:00.123Z' + p.id % 100000 * interval '10 minutes', changed.at, changed.at
FROM phones p
CROSS JOIN LATERAL (SELECT date_trunc('day', now()) - ($3 - p.id) * (interval '1 year' / $3) AS at) AS changed
ORDER BY p.id
"""

_MIRROR = """
INSERT INTO legacy_customers (
    legacy_id, customer_id, phone_id, firstname, lastname, email, birthday, gender, city_id, last_auth_at, read_at,
    number, changed_in, changed_as
)
SELECT
    $1 + c.id, c.id, c.phone_id, f.name, c.lastname, c.email, c.birthday, c.gender, c.city_id, c.last_auth_at,
    c.updated_at, 0, '00000000-0000-0000-0000-000000000000', 'created'
FROM customers c LEFT JOIN firstnames f ON f.id = c.firstname_id ORDER BY c.id
"""

# As after an import of this release: no customer has a text in an older form.
_ALL_REREAD = "UPDATE customer_rereads SET rule_version = $1, begun_at = now()"
