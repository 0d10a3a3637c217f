"""The differences that an import of kind `compare` stores instead of applying what it reads. They hold no values.

Rows are compared with the mirror by the same rules as in any import. Added at the end are the rows that are gone, the
phones whose holder is not the one that the rules name, and mirror rows whose customer or phone does not exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead

from customers_api.customers.tables import FIELDS
from customers_api.imports import gone_rows
from customers_api.imports.fields import Difference
from customers_api.imports.row_tables import NAMED_MEANWHILE
from customers_api.imports.state import AppliedRow, Class, Comparison, Incoming, Mirror

_DIFFERENCES: Final[Mapping[Class, Difference]] = {
    "created": "would_create",
    "updated": "would_update",
    "skipped": "would_skip",
    "rejected": "would_reject",
}

Row = tuple[int, UUID, int, int | None, Difference, str]
"""Chunk, attempt, legacy id, customer id, the difference, and the names of the fields separated by commas."""


async def add(
    connection: asyncpg.Connection,
    import_id: UUID,
    incoming: Sequence[Incoming],
    comparison: Comparison,
    mirrors: Mapping[int, Mirror],
) -> None:
    """Store the differences of the rows that were compared, in the caller's transaction."""
    if rows := list(_differences(incoming, comparison, mirrors)):
        await connection.execute(_ADD, import_id, *map(list, zip(*rows, strict=True)))


async def complete(connection: asyncpg.Connection, import_id: UUID) -> None:
    """Add what can be told only when all rows have been read, and remove what other imports have settled meanwhile.

    Call it in the transaction that completes the import.
    """
    await connection.execute(_REMOVE_NAMED_MEANWHILE, import_id)
    await connection.execute(_ADD_GONE, import_id)
    await connection.execute(_ADD_WRONG_OWNERS, import_id)
    await connection.execute(_ADD_ORPHANS, import_id)


def _differences(incoming: Sequence[Incoming], comparison: Comparison, mirrors: Mapping[int, Mirror]) -> Iterator[Row]:
    changed = {row.index: row for row in comparison.rows}
    for index, ((_, event), kind) in enumerate(zip(incoming, comparison.classes, strict=True)):
        mirror, difference = mirrors.get(event.legacy_id), _DIFFERENCES.get(kind)
        if difference is None or (mirror is None and not isinstance(event, LegacyCustomerRead)):
            continue
        fields = changed_fields(changed[index], mirror) if difference == "would_update" and mirror else []
        customer_id = mirror.customer_id if mirror else None
        yield event.chunk, event.attempt, event.legacy_id, customer_id, difference, ",".join(fields)


def changed_fields(row: AppliedRow, mirror: Mirror) -> list[str]:
    """The names of the fields in which the row differs from its mirror row."""
    phone = ["phone"] if row.phone != mirror.phone else []
    changed = zip(FIELDS, row.values, mirror.values, strict=True)
    return [*phone, *(name for name, new, old in changed if new != old)]


_ADD = """
INSERT INTO import_differences (import_id, chunk, attempt, legacy_id, customer_id, difference, fields)
SELECT $1, n.chunk, n.attempt, n.legacy_id, n.customer_id, n.difference, string_to_array(n.fields, ',')
FROM unnest($2::int[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
    AS n (chunk, attempt, legacy_id, customer_id, difference, fields)
"""

# What another import has found of these rows is applied, or will be.
_REMOVE_NAMED_MEANWHILE = f"""
DELETE FROM import_differences WHERE import_id = $1 AND legacy_id IN ({NAMED_MEANWHILE})
"""

_ADD_GONE = f"""
INSERT INTO import_differences (import_id, legacy_id, customer_id, difference)
SELECT $1, m.legacy_id, m.customer_id, 'gone'
FROM ({gone_rows.MISSED}) AS missed JOIN legacy_customers m USING (legacy_id)
"""

# The holder by docs/design.md, "Who holds a phone". A phone that the API gave stays with its customer.
_ADD_WRONG_OWNERS = """
WITH owners AS (
    SELECT DISTINCT ON (m.phone_id) m.phone_id, m.customer_id, m.legacy_id
    FROM legacy_customers m JOIN customers c ON c.id = m.customer_id
    WHERE m.phone_id IS NOT NULL AND c.deleted_at IS NULL AND c.phone_from IS DISTINCT FROM 'api'
    ORDER BY m.phone_id, m.last_auth_at DESC NULLS LAST, m.legacy_id DESC
),
holders AS (SELECT phone_id, id, phone_from FROM customers WHERE deleted_at IS NULL AND phone_id IS NOT NULL)
INSERT INTO import_differences (import_id, legacy_id, customer_id, difference, fields)
SELECT $1, owners.legacy_id, coalesce(owners.customer_id, holders.id), 'phone_owner', '{phone}'
FROM owners FULL JOIN holders ON holders.phone_id = owners.phone_id
WHERE holders.phone_from IS DISTINCT FROM 'api' AND holders.id IS DISTINCT FROM owners.customer_id
"""

_ADD_ORPHANS = """
INSERT INTO import_differences (import_id, legacy_id, customer_id, difference)
SELECT $1, m.legacy_id, m.customer_id, 'orphan' FROM legacy_customers m
LEFT JOIN customers c ON c.id = m.customer_id LEFT JOIN phones p ON p.id = m.phone_id
WHERE c.id IS NULL OR (m.phone_id IS NOT NULL AND p.id IS NULL)
"""
