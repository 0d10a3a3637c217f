"""What the import is measured against: COPY of the rows that it writes, and the SQL that a user would write instead."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg
from vapteke_shared.contract import phones
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead

CUSTOMERS = ("phones", "firstnames", "customers")
MIRROR = (*CUSTOMERS, "legacy_customers")
EVERYTHING = (*MIRROR, "outbox")


class Table(NamedTuple):
    """The rows of a table, each with its id. Generated columns are left out."""

    name: str
    columns: Sequence[str]
    rows: Sequence[asyncpg.Record]


async def tables(connection: asyncpg.Connection) -> list[Table]:
    """What an import has left in the tables, in the order in which their foreign keys allow to copy it."""
    columns = {name: await connection.fetchval(_COLUMNS, name) for name in EVERYTHING}
    return [
        Table(name, names, await connection.fetch(f"SELECT {', '.join(names)} FROM {name} ORDER BY {names[0]}"))
        for name, names in columns.items()
    ]


async def copy(connection: asyncpg.Connection, copied: Iterable[Table]) -> None:
    """One COPY for each table, in one transaction: indexes, triggers and foreign keys work as always."""
    async with connection.transaction():
        for name, columns, rows in copied:
            await connection.copy_records_to_table(name, records=rows, columns=columns)


async def create_staging_table(connection: asyncpg.Connection) -> None:
    await connection.execute(_STAGING_TABLE)


def staged(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """The rows of the staging table. What the importer rejects is left out."""
    return [
        (
            event.legacy_id,
            *phones.split(event.phone),
            event.firstname,
            event.lastname,
            event.email,
            event.birthday,
            event.gender,
            event.city_id,
            event.last_auth_at,
        )
        for event in events
        if isinstance(event, LegacyCustomerRead)
    ]


async def normalise(connection: asyncpg.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """COPY into the staging table, then one INSERT … SELECT for each table: without mirror, events and counts.

    One flat pass over an empty database: it neither finds out what has changed nor keeps what others have written.
    """
    async with connection.transaction():
        await connection.copy_records_to_table("staged", records=rows)
        for statement in (_PHONES, _FIRSTNAMES, _NEW_CUSTOMERS):
            await connection.execute(statement)
        await connection.execute("TRUNCATE staged")


_COLUMNS = """
SELECT array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns
WHERE table_schema = 'customers' AND table_name = $1 AND is_generated = 'NEVER'
"""

_STAGING_TABLE = """
CREATE TABLE IF NOT EXISTS staged (
    legacy_id bigint, code text, number text, firstname text, lastname text, email text, birthday date, gender text,
    city_id bigint, last_auth_at timestamptz
)
"""

_PHONES = "INSERT INTO phones (code, number) SELECT DISTINCT code, number FROM staged ON CONFLICT DO NOTHING"

_FIRSTNAMES = """
INSERT INTO firstnames (name) SELECT DISTINCT firstname FROM staged WHERE firstname IS NOT NULL ON CONFLICT DO NOTHING
"""

# Of several rows with one phone, the one that signed in last gets it.
_NEW_CUSTOMERS = """
INSERT INTO customers (
    phone_id, phone_from, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at, version
)
SELECT
    CASE WHEN s.claim = 1 THEN p.id END, CASE WHEN s.claim = 1 THEN 'import' END, f.id, s.lastname, s.email,
    s.birthday, s.gender, s.city_id, s.last_auth_at, 1
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY code, number ORDER BY last_auth_at DESC NULLS LAST, legacy_id DESC
    ) AS claim FROM staged
) AS s
JOIN phones p ON p.digits = s.code || s.number
LEFT JOIN firstnames f ON f.name = s.firstname
"""
