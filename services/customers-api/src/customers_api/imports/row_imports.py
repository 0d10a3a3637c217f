"""Imports of kind `rows`: finds the legacy rows that a request names, and starts the import that reads them.

docs/design.md, "Imports of single rows", has the rules.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
from vapteke_shared.contract.limits import INT64_MIN, ROWS_PER_IMPORT, ROWS_PER_TASK
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.imports import queries, stored_ranges, tasks


class Named(NamedTuple):
    """A legacy row that a request names, or a customer or phone for which no row is known: then `legacy_id` is None.

    `position` counts from 0 what the request named. What is named repeatedly has its first position.
    """

    position: int
    legacy_id: int | None
    customer_id: int | None = None


class NoRows(ProblemError):
    def __init__(self) -> None:
        super().__init__(
            409,
            "no_rows",
            "The import lists no such rows. Only the latest imports keep their lists (IMPORTS_KEPT).",
        )


class TooManyRows(ProblemError):
    def __init__(self, count: int) -> None:
        detail = f"One import reads at most {ROWS_PER_IMPORT} rows, not {count}. Choose fewer, or run a full import."
        super().__init__(409, "too_many_rows", detail, extensions={"count": count})


def by_legacy_ids(legacy_ids: Iterable[int]) -> list[Named]:
    return [Named(position, legacy_id) for position, legacy_id in enumerate(legacy_ids)]


async def by_customer_ids(connection: asyncpg.Connection, ids: Sequence[int]) -> list[Named]:
    """The rows of these customers, also of deleted ones."""
    return [Named(*row) for row in await connection.fetch(_BY_CUSTOMERS, ids)]


async def by_phones(connection: asyncpg.Connection, phones: Sequence[str]) -> list[Named]:
    """The rows that name these phones (digits) as they were last applied, and those of the customers who hold them."""
    return [Named(*row) for row in await connection.fetch(_BY_PHONES, phones)]


async def rejected_in(
    connection: asyncpg.Connection, import_id: UUID, field: str | None = None, reason: str | None = None
) -> list[Named]:
    """The rows that this import rejected or repaired. Raises ImportNotFound, NoRows, TooManyRows."""
    await queries.check_exists(connection, import_id)
    filters = {name: value for name, value in {"field": field, "reason": reason}.items() if value is not None}
    return checked(await queries.rejected_ids(connection, import_id, filters))


def checked(legacy_ids: Sequence[int]) -> list[Named]:
    """Raises NoRows and TooManyRows."""
    if not legacy_ids:
        raise NoRows
    if len(legacy_ids) > ROWS_PER_IMPORT:
        raise TooManyRows(len(legacy_ids))
    return by_legacy_ids(legacy_ids)


@retry_conflicts
async def start(connection: asyncpg.Connection, named: Sequence[Named], requested_by: str | None) -> UUID:
    """Start an import of these rows, beside whatever import runs, and return its id. Each call starts another one.

    A row is read once, however often it is named. If no row is known, the import completes without reading any.
    Raises TooManyRows.
    """
    rows = _distinct(named)
    legacy_ids = sorted(row.legacy_id for row in rows if row.legacy_id is not None)
    if len(legacy_ids) > ROWS_PER_IMPORT:
        raise TooManyRows(len(legacy_ids))
    chunks: dict[int | None, int] = {each: place // ROWS_PER_TASK for place, each in enumerate(legacy_ids)}
    columns = [[row[place] for row in rows] for place in range(3)]
    async with connection.transaction():
        import_id: UUID = await connection.fetchval(_START, uuid4(), requested_by, len(legacy_ids))
        await connection.execute(_ADD_ROWS, import_id, *columns, [chunks.get(row.legacy_id) for row in rows])
        await connection.execute(_ADD_CHUNKS, import_id, INT64_MIN)
        await stored_ranges.void(connection, legacy_ids)
        await tasks.request_ranges(connection, import_id, 1)  # the next ones when it has been read
    return import_id


def _distinct(named: Iterable[Named]) -> list[Named]:
    """Each row once, and each customer or phone for which no row is known."""
    seen, rows = set[int](), list[Named]()
    for each in named:
        if each.legacy_id is None or each.legacy_id not in seen:
            rows.append(each)
        if each.legacy_id is not None:
            seen.add(each.legacy_id)
    return rows


_BY_CUSTOMERS: Final = """
SELECT named.place - 1, m.legacy_id, named.id FROM (
    SELECT id, min(place) AS place FROM unnest($1::bigint[]) WITH ORDINALITY AS each (id, place) GROUP BY id
) AS named
LEFT JOIN legacy_customers m ON m.customer_id = named.id ORDER BY named.place
"""

_BY_PHONES: Final = """
SELECT named.place - 1, found.legacy_id, found.customer_id
FROM (
    SELECT digits, min(place) AS place FROM unnest($1::text[]) WITH ORDINALITY AS each (digits, place) GROUP BY digits
) AS named
LEFT JOIN phones p ON p.digits = named.digits
LEFT JOIN LATERAL (
    SELECT m.legacy_id, m.customer_id FROM legacy_customers m WHERE m.phone_id = p.id
    UNION
    SELECT m.legacy_id, c.id FROM customers c LEFT JOIN legacy_customers m ON m.customer_id = c.id
    WHERE c.phone_id = p.id AND c.deleted_at IS NULL
) AS found ON true
ORDER BY named.place, found.legacy_id
"""

_START: Final = """
INSERT INTO imports (id, kind, requested_by, status, planned_rows, started_at)
VALUES ($1, 'rows', $2, 'reading', $3, now()) RETURNING id
"""

_ADD_ROWS: Final = """
INSERT INTO import_rows (import_id, position, legacy_id, customer_id, chunk)
SELECT $1, n.position, n.legacy_id, n.customer_id, n.chunk
FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::int[]) AS n (position, legacy_id, customer_id, chunk)
"""

_ADD_CHUNKS: Final = """
INSERT INTO import_chunks (import_id, chunk, after_id, upto_id, status)
SELECT $1, chunk, CASE WHEN min(legacy_id) > $2 THEN min(legacy_id) - 1 END, max(legacy_id), 'planned'
FROM import_rows WHERE import_id = $1 AND chunk IS NOT NULL GROUP BY chunk
"""
