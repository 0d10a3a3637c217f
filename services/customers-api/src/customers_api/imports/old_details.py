"""Deletes the details of old imports: only the latest of each kind keep their ranges, counts and lists.

A list is the rejections, differences or single rows of an import.
"""

import asyncpg


async def delete(connection: asyncpg.Connection, imports_kept: int) -> None:
    """Delete the ranges, counts and lists of ended imports, except of the latest `imports_kept` of each kind that have
    a list, and of as many that have none: an import without a list pushes out no list.

    The readings of all ended imports are deleted. The jobs keep their total counts. However many jobs there are, only
    those that may have details are looked at. Safe to repeat.
    """
    await connection.execute(_DELETE, imports_kept)


# Only an unfinished import needs its readings. It also needs the rows that imports of single rows have named since it
# was requested: see `row_tables.NAMED_MEANWHILE`.
_DELETE = """
WITH readings AS (
    DELETE FROM import_readings
    WHERE import_id <> ALL (ARRAY(SELECT id FROM imports WHERE has_details AND finished_at IS NULL))
),
ranked AS (
    SELECT i.id, row_number() OVER (PARTITION BY i.kind, listed.has_list ORDER BY i.requested_at DESC, i.id)
    FROM imports i CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM import_rejections WHERE import_id = i.id)
            OR EXISTS (SELECT FROM import_differences WHERE import_id = i.id)
            OR EXISTS (SELECT FROM import_rows WHERE import_id = i.id) AS has_list
    ) AS listed
    WHERE i.has_details AND i.finished_at IS NOT NULL
),
oldest AS (SELECT min(requested_at) AS requested_at FROM imports WHERE has_details AND finished_at IS NULL),
old AS (
    UPDATE imports SET has_details = false
    WHERE id IN (SELECT id FROM ranked WHERE row_number > $1)
        AND (kind <> 'rows' OR coalesce(finished_at < (SELECT requested_at FROM oldest), true))
    RETURNING id
),
rejections AS (DELETE FROM import_rejections WHERE import_id IN (SELECT id FROM old)),
differences AS (DELETE FROM import_differences WHERE import_id IN (SELECT id FROM old)),
counts AS (DELETE FROM import_counts WHERE import_id IN (SELECT id FROM old)),
named AS (DELETE FROM import_rows WHERE import_id IN (SELECT id FROM old)),
outcomes AS (DELETE FROM import_outcomes WHERE import_id IN (SELECT id FROM old))
DELETE FROM import_chunks WHERE import_id IN (SELECT id FROM old)
"""
