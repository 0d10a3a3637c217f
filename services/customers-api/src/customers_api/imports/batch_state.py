"""Locks and loads what a batch of legacy customers concerns: mirror rows, phones, customers."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from vapteke_shared.contract import phones
from vapteke_shared.postgres.retries import ChangedMeanwhile

from customers_api.customers.tables import COLUMNS, FIELDS
from customers_api.imports.rules import phones_to_decide
from customers_api.imports.state import Context, Customer, Incoming, Locked, Mirror, Row

_FIRSTNAME = FIELDS.index("firstname")
_MIRROR_VALUES = slice(3, 3 + len(FIELDS))
_CUSTOMER_VALUES = slice(4, 4 + len(FIELDS))


async def load_context(connection: asyncpg.Connection, incoming: Sequence[Incoming]) -> Context:
    """What the rows share. Other attempts at the same ranges are rare, and so are the rows that they have read."""
    attempts = {(event.chunk, event.attempt.int): event for _, event in incoming}.values()
    chunks, ids = [event.chunk for event in attempts], [event.attempt for event in attempts]
    import_id = incoming[0].event.import_id
    read_later: dict[int, datetime] = {}
    for read_at, legacy_ids in await connection.fetch(_READ_BY_OTHERS, import_id, chunks, ids):
        for legacy_id in legacy_ids:
            read_later[legacy_id] = max(read_at, read_later.get(legacy_id, read_at))
    return Context(import_id, await connection.fetchval("SELECT now()"), read_later)


async def load_mirrors(connection: asyncpg.Connection, incoming: Sequence[Incoming]) -> dict[int, Mirror]:
    """The mirror rows by legacy id. No lock is needed: only who has locked the partition's offset writes them."""
    rows = await connection.fetch(_MIRRORS, incoming[0].event.import_id, [event.legacy_id for _, event in incoming])
    after = _MIRROR_VALUES.stop
    return {row[0]: Mirror(row[1], row[2], row[_MIRROR_VALUES], *row[after:]) for row in rows}


async def add_missing_names(connection: asyncpg.Connection, rows: Iterable[Row]) -> None:
    """Insert missing phones and first names. Unused ones are harmless."""
    numbers = [phones.split(digits) for digits in {row.phone for row in rows} if digits]
    await connection.execute(_ADD_PHONES, [p.code for p in numbers], [p.number for p in numbers])
    await connection.execute(ADD_FIRSTNAMES, list(_firstnames(rows)))


async def lock(connection: asyncpg.Connection, rows: Collection[Row]) -> Locked:
    """Lock the phones to decide, then the customers of the rows and all that hold or name one of these phones.

    The customers are read after that. Raises ChangedMeanwhile.
    """
    digits = phones_to_decide(rows)
    phone_ids = {row["digits"]: row["id"] for row in await connection.fetch(_LOCK_PHONES, digits)}
    if len(phone_ids) < len(digits):
        raise ChangedMeanwhile
    known = [row.customer_id for row in rows if not row.is_new]
    ids = await connection.fetchval(_LOCK_CUSTOMERS, known, list(phone_ids.values()))
    customers = await connection.fetch(_CUSTOMERS, ids) if ids else []
    at, new_ids = await connection.fetchrow(_CLOCK_AND_IDS, sum(row.is_new for row in rows))
    return Locked(phone_ids, {row["id"]: _customer(row) for row in customers}, at, new_ids)


async def firstname_ids(connection: asyncpg.Connection, rows: Iterable[Row]) -> dict[str, int]:
    """The ids of the new rows' first names."""
    names = _firstnames(row for row in rows if row.is_new)
    return {row["name"]: row["id"] for row in await connection.fetch(_FIRSTNAMES, names)}


def _firstnames(rows: Iterable[Row]) -> set[str]:
    return {row.values[_FIRSTNAME] for row in rows} - {None}


def _customer(row: Any) -> Customer:
    customer_id, version, phone, phone_from = row[: _CUSTOMER_VALUES.start]
    return Customer(customer_id, version, phone, phone_from, row[_CUSTOMER_VALUES], *row[_CUSTOMER_VALUES.stop :])


_ADD_PHONES = """
INSERT INTO phones (code, number)
SELECT code, number FROM unnest($1::text[], $2::text[]) AS wanted (code, number)
WHERE NOT EXISTS (SELECT FROM phones p WHERE p.digits = wanted.code || wanted.number)
ORDER BY code || number ON CONFLICT DO NOTHING
"""

ADD_FIRSTNAMES = """
INSERT INTO firstnames (name)
SELECT name FROM unnest($1::text[]) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM firstnames f WHERE f.name = wanted.name)
ORDER BY name ON CONFLICT DO NOTHING
"""

_READ_BY_OTHERS = """
SELECT r.read_at, r.legacy_ids FROM import_readings r
JOIN unnest($2::int[], $3::uuid[]) AS e (chunk, attempt) ON e.chunk = r.chunk AND e.attempt <> r.attempt
WHERE r.import_id = $1
"""

# OFFSET 0 makes Postgres look up each row by its index. Otherwise it reads a whole table to join a thousand rows.
_MIRRORS = f"""
SELECT
    m.legacy_id, m.customer_id, p.digits, {", ".join(f"m.{name}" for name in FIELDS)},
    m.read_at, m.number, CASE WHEN m.changed_in = $1 THEN m.changed_as END,
    CASE WHEN c.phone_id = m.phone_id THEN p.digits ELSE (SELECT digits FROM phones WHERE id = c.phone_id) END,
    c.last_auth_at, c.deleted_at IS NOT NULL
FROM unnest($2::bigint[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM legacy_customers WHERE legacy_id = wanted.id OFFSET 0) AS m
CROSS JOIN LATERAL (SELECT * FROM customers WHERE id = m.customer_id OFFSET 0) AS c
LEFT JOIN LATERAL (SELECT digits FROM phones WHERE id = m.phone_id OFFSET 0) AS p ON true
"""

_LOCK_PHONES = "SELECT id, digits FROM phones WHERE digits = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE"

_LOCK_CUSTOMERS = """
WITH locked AS (
    SELECT id FROM customers WHERE id = ANY (ARRAY(
        SELECT unnest($1::bigint[])
        UNION SELECT id FROM customers WHERE phone_id = ANY($2::bigint[]) AND deleted_at IS NULL
        UNION SELECT customer_id FROM legacy_customers WHERE phone_id = ANY($2::bigint[])
    )) ORDER BY id FOR NO KEY UPDATE
)
SELECT array_agg(id) FROM locked
"""

_CUSTOMERS = f"""
SELECT
    c.id, c.version, p.digits, c.phone_from, {", ".join(["f.name", *(f"c.{name}" for name in COLUMNS)])},
    c.created_at, c.updated_at, c.deleted_at, m.legacy_id, named.digits, m.last_auth_at
FROM unnest($1::bigint[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM customers WHERE id = wanted.id OFFSET 0) AS c
LEFT JOIN LATERAL (SELECT digits FROM phones WHERE id = c.phone_id OFFSET 0) AS p ON true
LEFT JOIN LATERAL (SELECT name FROM firstnames WHERE id = c.firstname_id OFFSET 0) AS f ON true
LEFT JOIN LATERAL (SELECT * FROM legacy_customers WHERE customer_id = c.id OFFSET 0) AS m ON true
LEFT JOIN LATERAL (SELECT digits FROM phones WHERE id = m.phone_id OFFSET 0) AS named ON true
"""

_FIRSTNAMES = "SELECT name, id FROM firstnames WHERE name = ANY($1::text[])"

_CLOCK_AND_IDS = """
SELECT statement_timestamp() AS at, ARRAY(SELECT nextval('customers_id_seq') FROM generate_series(1, $1)) AS ids
"""
