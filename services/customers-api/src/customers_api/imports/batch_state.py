"""Loads the state that concerns a batch of legacy customers, locks phones and customers, and adds missing phones and
first names.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from vapteke_shared.contract import phones
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead
from vapteke_shared.postgres.retries import ChangedMeanwhile

from customers_api.customers.tables import COLUMNS, FIELDS
from customers_api.imports.rules import phones_to_decide
from customers_api.imports.state import AppliedRow, Context, Incoming, LoadedCustomer, Locked, Mirror, Settled

_FIRSTNAME = FIELDS.index("firstname")
_MIRROR_VALUES = slice(3, 3 + len(FIELDS))
_CUSTOMER_VALUES = slice(4, 4 + len(FIELDS))


async def load_context(connection: asyncpg.Connection, incoming: Sequence[Incoming]) -> Context:
    """Read a batch's context: the import, Postgres' clock, and the rows that other attempts at its ranges have read.

    `incoming` must not be empty, and its events must be of one import.
    """
    attempts = {(event.chunk, event.attempt.int): event for _, event in incoming}.values()
    chunks, ids = [event.chunk for event in attempts], [event.attempt for event in attempts]
    import_id = incoming[0].event.import_id
    read_later: dict[int, datetime] = {}
    for read_at, legacy_ids in await connection.fetch(_READ_BY_OTHERS, import_id, chunks, ids):
        for legacy_id in legacy_ids:
            read_later[legacy_id] = max(read_at, read_later.get(legacy_id, read_at))
    return Context(import_id, await connection.fetchval("SELECT now()"), read_later)


async def load_settled(
    connection: asyncpg.Connection, context: Context, incoming: Sequence[Incoming]
) -> dict[int, Settled]:
    """By legacy id, those mirror rows of these legacy rows that are settled (see `Settled`)."""
    legacy_ids = [event.legacy_id for _, event in incoming]
    rows = await connection.fetch(_SETTLED, context.import_id, legacy_ids, context.tomorrow)
    return {row[0]: row[1:] for row in rows}


async def load_mirrors(connection: asyncpg.Connection, incoming: Sequence[Incoming]) -> dict[int, Mirror]:
    """The mirror rows of these legacy rows, by legacy id. A new legacy row has none.

    If the customer of a mirror row does not exist (docs/operate.md), ForeignKeyViolationError is raised for an accepted
    row, so that the row is rejected as bad data; for a rejected row the mirror row is left out. Mirror rows need no
    lock: only the transaction that holds the lock on the partition's offset writes them.
    """
    rows = await connection.fetch(_MIRRORS, incoming[0].event.import_id, [event.legacy_id for _, event in incoming])
    after = _MIRROR_VALUES.stop
    mirrors = {row[0]: Mirror(row[1], row[2], row[_MIRROR_VALUES], *row[after:]) for row in rows}
    orphans = {legacy_id for legacy_id, mirror in mirrors.items() if mirror.customer_is_deleted is None}
    if orphans and any(event.legacy_id in orphans and isinstance(event, LegacyCustomerRead) for _, event in incoming):
        raise asyncpg.ForeignKeyViolationError("a mirror row without its customer")
    for legacy_id in orphans:
        del mirrors[legacy_id]
    return mirrors


async def add_missing_names(connection: asyncpg.Connection, rows: Iterable[AppliedRow]) -> None:
    """Insert those phones and first names of the rows that the database does not have yet. Call before `lock_and_load`.

    Use a connection without a transaction, so that each of the two inserts commits at once. Values that nobody uses in
    the end do no harm. Values that equal the mirror row's are not inserted, because they exist.
    """
    if numbers := [phones.split(digits) for digits in _new_phones(rows)]:
        await connection.execute(_ADD_PHONES, [p.code for p in numbers], [p.number for p in numbers])
    if names := _new_firstnames(rows):
        await connection.execute(ADD_FIRSTNAMES, names)


def _new_phones(rows: Iterable[AppliedRow]) -> set[str]:
    return {row.phone for row in rows if row.phone and (row.mirror is None or row.phone != row.mirror.phone)}


def _new_firstnames(rows: Iterable[AppliedRow]) -> set[str]:
    """The first names of new rows, and those that differ from the mirror row's."""
    named = ((row.values[_FIRSTNAME], row.mirror) for row in rows)
    return {name for name, mirror in named if name and (mirror is None or name != mirror.values[_FIRSTNAME])}


async def lock_and_load(connection: asyncpg.Connection, rows: Collection[AppliedRow]) -> Locked:
    """Lock the phones to decide. Then lock and load the customers of the rows, the active holders of these phones, and
    the customers whose mirror rows name one of these phones. Also take ids for the customers that may be created.

    The locks hold until the caller's transaction ends. Raises ChangedMeanwhile, so that the transaction is retried, if
    one of the phones does not exist.
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


async def firstname_ids(connection: asyncpg.Connection, rows: Iterable[AppliedRow]) -> dict[str, int]:
    """The ids of the new rows' first names, by name."""
    names = _new_firstnames(row for row in rows if row.is_new)
    return {row["name"]: row["id"] for row in await connection.fetch(_FIRSTNAMES, names)}


def _customer(row: Any) -> LoadedCustomer:
    customer_id, version, phone, phone_from = row[: _CUSTOMER_VALUES.start]
    return LoadedCustomer(customer_id, version, phone, phone_from, row[_CUSTOMER_VALUES], *row[_CUSTOMER_VALUES.stop :])


_ADD_PHONES = """
INSERT INTO phones (code, number)
SELECT code, number FROM unnest($1::text[], $2::text[]) AS wanted (code, number)
ORDER BY code || number ON CONFLICT DO NOTHING
"""

ADD_FIRSTNAMES = """
INSERT INTO firstnames (name)
SELECT name FROM unnest($1::text[]) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM firstnames f WHERE f.name = wanted.name)
ORDER BY name ON CONFLICT DO NOTHING
"""

# A comparison applies nothing, so only what the attempt that wins has read can be listed.
_READ_BY_OTHERS = """
SELECT r.read_at, r.legacy_ids FROM import_readings r
JOIN unnest($2::int[], $3::uuid[]) AS e (chunk, attempt) ON e.chunk = r.chunk AND e.attempt <> r.attempt
WHERE r.import_id = $1 AND (SELECT kind FROM imports WHERE id = $1) <> 'compare'
"""


def _values(table: str, names: Iterable[str]) -> str:
    return ", ".join(_finite(f"{table}.{name}") if name == "last_auth_at" else f"{table}.{name}" for name in names)


def _finite(instant: str) -> str:
    """SQL: the instant, or null if it is infinite. An earlier release may have stored infinity, which Python could not
    compare.
    """
    return f"nullif(nullif({instant}, 'infinity'), '-infinity')"


# OFFSET 0 makes Postgres look up each row by its index. Otherwise it reads a whole table to join a thousand rows.
_WANTED = """
FROM unnest($2::bigint[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT * FROM legacy_customers WHERE legacy_id = wanted.id OFFSET 0) AS m
LEFT JOIN LATERAL (SELECT * FROM customers WHERE id = m.customer_id OFFSET 0) AS c ON true
LEFT JOIN LATERAL (SELECT digits FROM phones WHERE id = m.phone_id OFFSET 0) AS p ON true
"""
# How an import of kind `rows` has counted the row: it leaves the mirror's memory to the import beside which it runs.
_COUNTED_ROW = """(
    SELECT o.outcome FROM import_outcomes o
    WHERE (o.import_id, o.legacy_id) = ($1, m.legacy_id) AND o.outcome IN ('created', 'updated') ORDER BY o.id LIMIT 1
)"""
_MIRRORS = f"""
SELECT
    m.legacy_id, m.customer_id, p.digits, {_values("m", FIELDS)},
    m.read_at, m.number, coalesce({_COUNTED_ROW}, CASE WHEN m.changed_in = $1 THEN m.changed_as END),
    CASE WHEN c.phone_id = m.phone_id THEN p.digits ELSE (SELECT digits FROM phones WHERE id = c.phone_id) END,
    {_finite("c.last_auth_at")},
    CASE WHEN c.id IS NOT NULL THEN c.deleted_at IS NOT NULL AND (m.gone_at IS NULL OR c.deleted_by IS NULL) END,
    m.gone_at IS NOT NULL
{_WANTED}
"""

_SETTLED = f"""
SELECT m.legacy_id, p.digits, {", ".join(f"m.{name}" for name in FIELDS)}
{_WANTED}
WHERE c.id IS NOT NULL AND c.deleted_at IS NULL AND m.changed_in IS DISTINCT FROM $1 AND m.gone_at IS NULL
    AND (m.last_auth_at > $3) IS NOT TRUE AND (c.last_auth_at > $3) IS NOT TRUE
"""

_LOCK_PHONES = "SELECT id, digits FROM phones WHERE digits = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE"

_LOCK_CUSTOMERS = """
WITH locked AS (
    SELECT id FROM customers WHERE id = ANY (ARRAY(
        SELECT unnest($1::bigint[])
        UNION SELECT c.id FROM unnest($2::bigint[]) AS phone (id) CROSS JOIN LATERAL (
            SELECT id FROM customers WHERE phone_id = phone.id AND deleted_at IS NULL OFFSET 0
        ) AS c
        UNION SELECT m.customer_id FROM unnest($2::bigint[]) AS phone (id) CROSS JOIN LATERAL (
            SELECT customer_id FROM legacy_customers WHERE phone_id = phone.id OFFSET 0
        ) AS m
    )) ORDER BY id FOR NO KEY UPDATE
)
SELECT array_agg(id) FROM locked
"""

_CUSTOMERS = f"""
SELECT
    c.id, c.version, p.digits, c.phone_from, f.name, {_values("c", COLUMNS)},
    c.created_at, c.updated_at, c.deleted_at, m.legacy_id, named.digits, {_finite("m.last_auth_at")}
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
