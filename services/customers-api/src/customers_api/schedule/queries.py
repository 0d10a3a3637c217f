"""Reads the schedule."""

from typing import Final

import asyncpg

from customers_api.imports.fields import FRESH_KINDS


async def find(connection: asyncpg.Connection) -> asyncpg.Record:
    """The stored state of the schedule.

    `import_status` is how the import that it started last has ended; None while that runs, and once its end was noted.
    `has_recovered`: its imports have failed, but an import of any origin has completed since.
    `last_completed_at` is when an import of one of FRESH_KINDS last completed, also one that was folded.
    """
    return await connection.fetchrow(_FIND, FRESH_KINDS)


_FIND: Final = """
SELECT
    s.schedule, s.kind, s.timezone, s.next_at, s.failures, s.import_id, s.paused_at, s.paused_by,
    (SELECT status FROM imports WHERE id = s.import_id AND finished_at IS NOT NULL) AS import_status,
    s.failures > 0 AND coalesce((
        SELECT status = 'completed' FROM imports
        WHERE status IN ('completed', 'failed') AND (kind = ANY($1) OR kind = s.kind)
        ORDER BY finished_at DESC LIMIT 1
    ), false) AS has_recovered,
    (
        SELECT coalesce(repeated_at, finished_at) FROM imports WHERE status = 'completed' AND kind = ANY($1)
        ORDER BY requested_at DESC, id LIMIT 1
    ) AS last_completed_at
FROM import_schedule s
"""
