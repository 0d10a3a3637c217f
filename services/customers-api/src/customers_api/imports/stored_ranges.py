"""The key ranges that completed imports have read, with their fingerprints.

An import of changes does not read them again as long as their fingerprints are the same in vAptekeSync. They begin at
the smallest key and follow one another without a gap. A range without a fingerprint is void: the next import must read
it. docs/design.md, "Imports of changes", has the rules.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from vapteke_shared.contract import limits
from vapteke_shared.contract.events.imports import Planned
from vapteke_shared.contract.events.legacy_customers import IN_THE_FUTURE

from customers_api.imports.row_tables import NAMED_MEANWHILE


class Stored(NamedTuple):
    """The last keys of the ranges in ascending order, their fingerprints, and the basis of these."""

    stored_bounds: list[int]
    stored_fingerprints: list[str | None]
    basis: dict[str, str]


async def find(connection: asyncpg.Connection) -> Stored | None:
    """None if no ranges are stored, or an import without a basis has been planned since."""
    basis = await connection.fetchval(_BASIS)
    if basis is None:
        return None
    rows = await connection.fetch(_RANGES)
    return Stored([row[0] for row in rows], [row[1] for row in rows], msgspec.json.decode(basis))


async def unread_of(connection: asyncpg.Connection, kind: str, plan: Planned) -> set[int]:
    """The last keys of those ranges of the plan that need not be read; `unread` of the import is set to their rows.

    All other stored ranges become void until the import has completed, because it may read only some of them. A range
    that was voided after the plan was requested must be read, too. Call it in the transaction that stores the plan.
    """
    if kind == "full":
        await connection.execute("DELETE FROM stored_ranges")
    if kind != "changes":
        return set()
    await connection.execute(_VOID_OTHERS, [plan.upper_bounds[chunk] for chunk in plan.unread or ()])
    unread = await connection.fetch(_NOT_VOID)
    await connection.execute(_SET_UNREAD, plan.import_id, sum(row["rows"] for row in unread))
    return {row["upto_id"] for row in unread}


async def void(connection: asyncpg.Connection, legacy_ids: Sequence[int]) -> None:
    """Void the stored ranges that contain these rows, because an import of kind `rows` is going to read them.

    Otherwise a row that it changes could change back in vAptekeSync: the fingerprint would be equal, but not the row
    here. If an import is just storing its ranges, this waits for it.
    """
    await connection.execute(_VOID, legacy_ids)


async def keep(connection: asyncpg.Connection, import_id: UUID) -> None:
    """Store the ranges that a completed import has read, in place of those that they cover.

    Call it late in the transaction that completes the import, but before rows are marked as gone: restorations of
    customers, and requests for single rows, wait until it has ended. Only for imports of kind `full` or `changes`.
    """
    await connection.execute(_WAIT_FOR_OTHERS)
    await connection.execute(_DELETE_COVERED, import_id)
    await connection.execute(_KEEP, import_id, IN_THE_FUTURE)


# Processes of the previous release neither void nor store ranges, and plan without a basis.
_BASIS = """
WITH last AS (
    SELECT i.basis, i.requested_at FROM imports i WHERE i.id IN (SELECT import_id FROM stored_ranges)
    ORDER BY i.requested_at DESC LIMIT 1
)
SELECT last.basis::text FROM last WHERE NOT EXISTS (
    SELECT FROM imports i WHERE i.requested_at > last.requested_at AND i.planned_rows IS NOT NULL AND i.basis IS NULL
        AND i.kind <> 'rows'
)
"""

_RANGES = """
SELECT upto_id, CASE WHEN coalesce(valid_until > now(), true) THEN fingerprint END FROM stored_ranges ORDER BY upto_id
"""

_VOID_OTHERS = "UPDATE stored_ranges SET fingerprint = NULL WHERE upto_id <> ALL($1::bigint[])"

_NOT_VOID = """
SELECT upto_id, split_part(fingerprint, ':', 1)::bigint AS rows FROM stored_ranges WHERE fingerprint IS NOT NULL
"""

_SET_UNREAD = "UPDATE imports SET unread = $2 WHERE id = $1"

_VOID = """
UPDATE stored_ranges SET fingerprint = NULL WHERE fingerprint IS NOT NULL AND upto_id IN (
    SELECT (SELECT min(s.upto_id) FROM stored_ranges s WHERE s.upto_id >= r.legacy_id)
    FROM unnest($1::bigint[]) AS r (legacy_id)
)
"""

# A restoration voids the range of the customer's row: see `customers/restorations.py`. So does `void`.
_WAIT_FOR_OTHERS = "LOCK TABLE stored_ranges IN SHARE ROW EXCLUSIVE MODE"

_DELETE_COVERED = f"""
DELETE FROM stored_ranges s USING imports i
WHERE i.id = $1 AND (i.basis IS NULL OR EXISTS (
    SELECT FROM import_chunks c WHERE c.import_id = $1
        AND s.upto_id > coalesce(c.after_id, {limits.INT64_MIN}) AND s.upto_id <= c.upto_id
))
"""

_IN_RANGE = f"m.legacy_id > coalesce(c.after_id, {limits.INT64_MIN}) AND m.legacy_id <= c.upto_id"

# A range keeps its fingerprint only if reading the same rows again would change nothing, now or later. It does not if
# another attempt or a later task has read rows of it, if one was refused or becomes usable at an unknown time, if an
# import of single rows has named one meanwhile, or if the customer of a skipped row was restored since.
_KEEP = f"""
WITH named AS MATERIALIZED ({NAMED_MEANWHILE})
INSERT INTO stored_ranges (import_id, upto_id, valid_until, fingerprint)
SELECT c.import_id, c.upto_id, c.valid_until, CASE WHEN NOT (
    EXISTS (
        SELECT FROM import_counts n WHERE (n.import_id, n.chunk) = (c.import_id, c.chunk) AND n.attempt <> c.attempt
    )
    OR EXISTS (
        SELECT FROM import_rejections r
        WHERE (r.import_id, r.chunk, r.attempt) = (c.import_id, c.chunk, c.attempt)
            AND (r.reason = $2 AND c.valid_until IS NULL OR r.reason LIKE 'refused\\_%')
    )
    OR EXISTS (SELECT FROM named AS m WHERE {_IN_RANGE})
    OR EXISTS (SELECT FROM legacy_customers m WHERE {_IN_RANGE} AND m.number > c.number)
    OR EXISTS (
        SELECT FROM import_counts n
        WHERE (n.import_id, n.chunk, n.attempt) = (c.import_id, c.chunk, c.attempt) AND n.skipped > 0
    ) AND EXISTS (
        SELECT FROM legacy_customers m JOIN customers u ON u.id = m.customer_id
        WHERE {_IN_RANGE} AND u.deleted_at IS NULL AND u.updated_at >= i.requested_at
    )
) THEN c.fingerprint END
FROM import_chunks c JOIN imports i ON i.id = c.import_id
WHERE i.id = $1 AND i.basis IS NOT NULL
"""
