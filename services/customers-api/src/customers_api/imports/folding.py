"""Folds an import of changes that found nothing into the one before it, if that one found nothing either.

So a schedule that looks every few seconds does not fill the table of imports. docs/design.md, "Imports of changes", has
the rules.
"""

from uuid import UUID

import asyncpg

from customers_api.imports.fields import BY_SCHEDULE


async def fold(connection: asyncpg.Connection, import_id: UUID) -> UUID | None:
    """Count this ended import in the job of the import before it, and remove its own job.

    Returns the import that counts it now. Does nothing and returns None unless both have found nothing and have the
    same warnings, the schedule has started both, and no caller has started or joined this one: an id that somebody has
    stays valid.
    """
    into: UUID | None = await connection.fetchval(_FOLD, import_id)
    return into


_FOUND_NOTHING = f"""(
    i.kind = 'changes' AND i.status = 'completed' AND i.requested_by = '{BY_SCHEDULE}'
    AND i.read = 0 AND i.gone = 0
)"""

# Without key ranges, no stored range and no row of the mirror names the import that is removed.
_FOLD = f"""
WITH last AS (
    SELECT * FROM imports i
    WHERE i.id = $1 AND {_FOUND_NOTHING} AND i.only_scheduled AND i.cancelled_at IS NULL
        AND NOT EXISTS (SELECT FROM import_chunks c WHERE c.import_id = i.id)
),
before AS (
    SELECT i.id, i.warnings, {_FOUND_NOTHING} AS found_nothing FROM imports i
    WHERE i.requested_at <= (SELECT requested_at FROM last) AND i.id <> $1
    ORDER BY i.requested_at DESC, i.id LIMIT 1
),
folded AS (
    UPDATE imports i SET
        repeated = i.repeated + 1, repeated_at = last.finished_at,
        source_ahead_seconds = coalesce(last.source_ahead_seconds, i.source_ahead_seconds)
    FROM last, before
    WHERE i.id = before.id AND before.found_nothing AND before.warnings = last.warnings RETURNING i.id
),
removed AS (DELETE FROM imports WHERE id IN (SELECT id FROM last) AND EXISTS (SELECT FROM folded))
SELECT id FROM folded
"""
