"""Reads import jobs with their counts, and the rows and fields that an import rejected or repaired."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import text
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.statements import Statement

from customers_api.imports import waiting_for

Rows = Sequence[asyncpg.Record]


class ImportNotFound(ProblemError):
    def __init__(self) -> None:
        super().__init__(404, "import_not_found", "There is no such import.")


async def find(connection: asyncpg.Connection, import_id: UUID) -> asyncpg.Record | None:
    return await connection.fetchrow(_JOBS + " WHERE i.id = $1", import_id)


async def check_exists(connection: asyncpg.Connection, import_id: UUID) -> None:
    """Raise ImportNotFound if there is no such import. Cheaper than `find`, which adds up counts."""
    if await connection.fetchval("SELECT id FROM imports WHERE id = $1", import_id) is None:
        raise ImportNotFound


async def history(
    connection: asyncpg.Connection, filters: Mapping[str, Any], limit: int, offset: int
) -> tuple[Rows, int]:
    """A page of jobs, the latest first, and the number of all jobs that match `filters` (of an `ImportQuery`)."""
    where = _where(_OF_JOBS, filters)
    page = f"{_JOBS} WHERE {where} ORDER BY i.requested_at DESC, i.id LIMIT :limit OFFSET :offset"
    return await _page(connection, page, f"SELECT count(*) FROM imports i WHERE {where}", filters, limit, offset)


async def rejections(
    connection: asyncpg.Connection, import_id: UUID, filters: Mapping[str, Any], limit: int, offset: int
) -> tuple[Rows, int]:
    """A page of rejections, ordered by legacy id, and the number of all that match `filters` (of a `RejectionQuery`).

    Rejections of attempts that have not won their range are neither listed nor counted. An unknown import has none.
    """
    counted = f"{_COUNTED_REJECTIONS} AND {_where(_OF_REJECTIONS, filters)}"
    page = f"SELECT r.* {counted} ORDER BY r.legacy_id, r.id LIMIT :limit OFFSET :offset"
    given = {**filters, "import_id": import_id}
    return await _page(connection, page, f"SELECT count(*) {counted}", given, limit, offset)


async def rejected_ids(connection: asyncpg.Connection, import_id: UUID, filters: Mapping[str, Any]) -> list[int]:
    """The legacy ids of all rejections that `rejections` would list, ascending, each once."""
    statement = f"SELECT DISTINCT r.legacy_id {_COUNTED_REJECTIONS} AND {_where(_OF_REJECTIONS, filters)} ORDER BY 1"
    rows = await connection.fetch(*Statement(text(statement))(**filters, import_id=import_id))
    return [row[0] for row in rows]


async def rows(
    connection: asyncpg.Connection, import_id: UUID, filters: Mapping[str, Any], limit: int, offset: int
) -> tuple[Rows, int]:
    """A page of what became of the rows of an import of kind `rows`, in the order of the request, and the number of all
    that match `filters` (of a `RowQuery`).

    `outcome` is None for a row that has not been read and applied yet. Other imports have no such rows.
    """
    found = f"FROM ({_FOUND_ROWS}) AS r WHERE {_where(_OF_ROWS, filters)}"
    page = f"SELECT r.* {found} ORDER BY r.position, r.legacy_id LIMIT :limit OFFSET :offset"
    given = {**filters, "import_id": import_id}
    return await _page(connection, page, f"SELECT count(*) {found}", given, limit, offset)


async def deletions(
    connection: asyncpg.Connection, import_id: UUID, filters: Mapping[str, Any], limit: int, offset: int
) -> tuple[Rows, int]:
    """A page of the rows that this import found to be gone and that have not returned, ordered by legacy id.

    Also returns the number of all that match `filters` (of a `DeletionQuery`). An unknown import has none.
    """
    found = f"FROM legacy_customers m WHERE m.gone_in = :import_id AND {_where(_OF_DELETIONS, filters)}"
    page = (
        f"SELECT m.legacy_id, m.customer_id, m.gone_as AS status {found} "
        "ORDER BY m.legacy_id LIMIT :limit OFFSET :offset"
    )
    return await _page(connection, page, f"SELECT count(*) {found}", {**filters, "import_id": import_id}, limit, offset)


async def differences(
    connection: asyncpg.Connection, import_id: UUID, filters: Mapping[str, Any], limit: int, offset: int
) -> tuple[Rows, int]:
    """A page of differences, ordered by legacy id, and the number of all that match `filters` (a `DifferenceQuery`).

    Differences of attempts that have not won their range are neither listed nor counted.
    """
    counted = f"{_COUNTED_DIFFERENCES} AND {_where(_OF_DIFFERENCES, filters)}"
    page = f"SELECT d.* {counted} ORDER BY d.legacy_id, d.id LIMIT :limit OFFSET :offset"
    given = {**filters, "import_id": import_id}
    return await _page(connection, page, f"SELECT count(*) {counted}", given, limit, offset)


async def all_differences(connection: asyncpg.Connection, import_id: UUID) -> Rows:
    """The differences that `differences` would list, without an order."""
    statement = f"SELECT d.legacy_id, d.customer_id, d.difference {_COUNTED_DIFFERENCES}"
    return await connection.fetch(*Statement(text(statement))(import_id=import_id))  # type: ignore[no-any-return]


async def _page(
    connection: asyncpg.Connection, page: str, count: str, given: Mapping[str, Any], limit: int, offset: int
) -> tuple[Rows, int]:
    rows = await connection.fetch(*Statement(text(page))(**given, limit=limit, offset=offset))
    return rows, await connection.fetchval(*Statement(text(count))(**given))


def _where(conditions: Mapping[str, str], filters: Mapping[str, Any]) -> str:
    return " AND ".join(conditions[name] for name in filters) or "true"


STATUS: Final = "CASE i.status WHEN 'waiting' THEN 'requested' WHEN 'reading' THEN 'running' ELSE i.status END"
"""SQL: the status of the import `i` as callers see it."""
_OF_JOBS: Final = {
    "kind": "i.kind = ANY (CAST(:kind AS text[]))",
    "status": f"{STATUS} = ANY (CAST(:status AS text[]))",
    "deletions": "i.id IN (SELECT gone_in FROM legacy_customers WHERE gone_in IS NOT NULL"
    " AND gone_as = ANY (CAST(:deletions AS text[])))",
    "requested_from": "i.requested_at >= :requested_from",
    "requested_to": "i.requested_at < CAST(:requested_to AS timestamptz) + interval '1 millisecond'",
}
_OF_DELETIONS: Final = {"status": "m.gone_as = ANY (CAST(:status AS text[]))"}
_OF_DIFFERENCES: Final = {
    "difference": "d.difference = ANY (CAST(:difference AS text[]))",
    "legacy_id": "d.legacy_id = ANY (CAST(:legacy_id AS bigint[]))",
    "customer_id": "d.customer_id = ANY (CAST(:customer_id AS bigint[]))",
}
_OF_ROWS: Final = {"outcome": "r.outcome = ANY (CAST(:outcome AS text[]))"}
_OF_REJECTIONS: Final = {
    "kind": "r.kind = :kind",
    "field": "r.field = :field",
    "reason": "r.reason = :reason",
    "legacy_id": "r.legacy_id = ANY (CAST(:legacy_id AS bigint[]))",
    "customer_id": "r.customer_id = ANY (CAST(:customer_id AS bigint[]))",
}

# The counts of an unfinished import are those of the attempts that have won so far.
_JOBS = f"""
SELECT
    i.id, i.kind, i.full_because, {STATUS} AS status, i.status = 'waiting' AS is_waiting,
    i.planned_rows, i.unread, i.gone, i.error, i.warnings,
    i.requested_by, i.requested_at, i.started_at, i.finished_at, i.repeated, i.repeated_at,
    coalesce(live.created, i.created) AS created, coalesce(live.updated, i.updated) AS updated,
    coalesce(live.unchanged, i.unchanged) AS unchanged, coalesce(live.skipped, i.skipped) AS skipped,
    coalesce(live.rejected, i.rejected) AS rejected, coalesce(live.repaired, i.repaired) AS repaired,
    extract(epoch FROM coalesce(i.finished_at, now()) - i.started_at)::float AS seconds,
{waiting_for.COLUMNS}
FROM imports i
{waiting_for.JOIN}
LEFT JOIN LATERAL (
    SELECT
        sum(n.created)::bigint AS created, sum(n.updated)::bigint AS updated, sum(n.unchanged)::bigint AS unchanged,
        sum(n.skipped)::bigint AS skipped, sum(n.rejected)::bigint AS rejected,
        CASE WHEN i.finished_at IS NULL THEN (
            SELECT count(DISTINCT r.legacy_id) FROM import_rejections r JOIN import_chunks w
            ON (w.import_id, w.chunk, w.attempt) = (r.import_id, r.chunk, r.attempt)
            WHERE r.import_id = i.id AND r.kind = 'field'
        ) END AS repaired
    FROM import_chunks c JOIN import_counts n ON (n.import_id, n.chunk, n.attempt) = (c.import_id, c.chunk, c.attempt)
    WHERE c.import_id = i.id AND i.finished_at IS NULL
) AS live ON true
"""

_COUNTED_REJECTIONS = """
FROM import_rejections r
LEFT JOIN import_chunks c ON (c.import_id, c.chunk, c.attempt) = (r.import_id, r.chunk, r.attempt)
WHERE r.import_id = :import_id AND (r.attempt IS NULL OR c.chunk IS NOT NULL)
"""

_COUNTED_DIFFERENCES = """
FROM import_differences d
LEFT JOIN import_chunks c ON (c.import_id, c.chunk, c.attempt) = (d.import_id, d.chunk, d.attempt)
WHERE d.import_id = :import_id AND (d.attempt IS NULL OR c.chunk IS NOT NULL)
"""

# A row without an event of the attempt that won is absent, once as many of its rows are applied as it has read: not if
# some of its events were ignored, for example by a process of the previous release. A row that was read again
# after it had been updated was updated by an earlier attempt.
_FOUND_ROWS = """
SELECT
    r.position, r.legacy_id, coalesce(m.customer_id, r.customer_id) AS customer_id,
    CASE
        WHEN r.legacy_id IS NULL THEN 'unknown'
        WHEN o.outcome IS NOT NULL THEN o.outcome
        WHEN c.event_count = coalesce(n.applied, 0) THEN 'absent'
    END AS outcome,
    ARRAY(
        SELECT DISTINCT unnest(every.fields) FROM import_outcomes every
        WHERE (every.import_id, every.legacy_id) = (r.import_id, r.legacy_id) AND o.outcome = 'updated' ORDER BY 1
    ) AS fields,
    (
        SELECT jsonb_object_agg(j.field, j.reason) FROM import_rejections j
        WHERE (j.import_id, j.chunk, j.attempt, j.legacy_id) = (c.import_id, c.chunk, c.attempt, r.legacy_id)
    ) AS reasons,
    held.id IS NOT NULL AS is_held, held.other_customer_id, held.other_legacy_id
FROM import_rows r
LEFT JOIN import_chunks c ON (c.import_id, c.chunk) = (r.import_id, r.chunk)
LEFT JOIN (
    SELECT chunk, attempt, count(*) AS applied FROM import_outcomes WHERE import_id = :import_id GROUP BY chunk, attempt
) AS n ON (n.chunk, n.attempt) = (c.chunk, c.attempt)
LEFT JOIN import_outcomes o
    ON (o.import_id, o.legacy_id, o.chunk, o.attempt) = (r.import_id, r.legacy_id, c.chunk, c.attempt)
LEFT JOIN import_rejections held
    ON (held.import_id, held.legacy_id) = (r.import_id, r.legacy_id) AND held.kind = 'phone_conflict'
LEFT JOIN legacy_customers m ON m.legacy_id = r.legacy_id
WHERE r.import_id = :import_id
"""
