"""What became of the rows of an import of kind `rows`, which runs beside other imports.

docs/design.md, "Imports of single rows", has the rules. Such an import leaves `changed_in` and `changed_as` of mirror
rows to the import beside which it runs, and remembers its own classes here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from customers_api.imports.differences import changed_fields
from customers_api.imports.state import Class, Comparison, Incoming, Mirror
from customers_api.imports.tables import READING


async def asked(connection: asyncpg.Connection, incoming: Sequence[Incoming]) -> list[Incoming]:
    """Those of these rows that an unfinished import of kind `rows` reads, this one or another.

    Call `number` for them once they are applied.
    """
    rows = await connection.fetch(_ASKED, READING, [event.legacy_id for _, event in incoming])
    named = {row[0] for row in rows}
    return [each for each in incoming if each.event.legacy_id in named] if named else []


async def number(connection: asyncpg.Connection, incoming: Sequence[Incoming]) -> None:
    """Give each mirror row the dispatch number of this reading if it is greater, even if the row has not changed.

    So an import whose task is older neither applies what it has read of the row nor takes the row for gone. Call it in
    the transaction that applies the rows, after that.
    """
    if incoming:
        readings = [(event.legacy_id, event.number, event.read_at) for _, event in incoming]
        await connection.execute(_NUMBER, *map(list, zip(*readings, strict=True)))


async def add(
    connection: asyncpg.Connection,
    import_id: UUID,
    incoming: Sequence[Incoming],
    classes: Sequence[Class],
    comparison: Comparison,
    mirrors: Mapping[int, Mirror],
) -> None:
    """Store what became of each row of an import of kind `rows`, in the transaction that applies them."""
    outcomes = list(_outcomes(incoming, classes, comparison, mirrors))
    await connection.execute(_ADD, import_id, *map(list, zip(*outcomes, strict=True)))


def _outcomes(
    incoming: Sequence[Incoming], classes: Sequence[Class], comparison: Comparison, mirrors: Mapping[int, Mirror]
) -> Iterator[tuple[Any, ...]]:
    applied = {row.index: row for row in comparison.rows}
    for index, ((_, event), kind) in enumerate(zip(incoming, classes, strict=True)):
        row, mirror = applied.get(index), mirrors.get(event.legacy_id)
        fields = changed_fields(row, mirror) if row and mirror and kind == "updated" else []
        yield event.chunk, event.attempt, event.legacy_id, kind, ",".join(fields)


# Each batch asks: with has_details, however many jobs there are, Postgres looks at a few of them.
_ASKED = """
SELECT r.legacy_id FROM imports i JOIN import_rows r ON r.import_id = i.id
WHERE i.has_details AND i.status = $1 AND r.legacy_id = ANY($2::bigint[])
"""

_NUMBER = """
UPDATE legacy_customers m SET number = n.number, read_at = n.read_at
FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS n (legacy_id, number, read_at)
WHERE m.legacy_id = n.legacy_id AND (m.number IS NULL OR m.number < n.number)
"""

_ADD = """
INSERT INTO import_outcomes (import_id, chunk, attempt, legacy_id, outcome, fields)
SELECT $1, n.chunk, n.attempt, n.legacy_id, n.outcome, string_to_array(n.fields, ',')
FROM unnest($2::int[], $3::uuid[], $4::bigint[], $5::text[], $6::text[])
    AS n (chunk, attempt, legacy_id, outcome, fields)
"""
