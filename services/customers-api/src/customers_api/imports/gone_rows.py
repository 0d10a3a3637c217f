"""Legacy rows that are gone from vAptekeSync: marks their mirror rows, and deletes their customers if configured.

A mirror row is marked when an import completes that has looked at the row's key and not found it. Any later reading of
the row clears the mark, and restores a customer who was deleted for it. Deletions that the settings or the limit hold
back can be approved. docs/design.md, "Rows that are gone", has the rules.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

import asyncpg
from vapteke_shared.contract import limits
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.customers import phone_owners, restorations
from customers_api.customers import writes as customer_writes
from customers_api.imports import waiting_deletions
from customers_api.imports.row_tables import NAMED_MEANWHILE
from customers_api.imports.state import Mirror

_DAY: Final = timedelta(days=1)
_DELETED_AT_ONCE: Final = 50

Mode = Literal["report", "apply"]


class Deletions(NamedTuple):
    """The settings. `apply` deletes the customers of gone rows; `report` only lists them.

    In 24 hours at most `limit` customers are deleted, or `limit_percent` of those with a mirror row if that is more.
    """

    mode: Mode = "report"
    limit: int = 10
    limit_percent: float = 1.0


REPORT: Final = Deletions()


class Gone(NamedTuple):
    """How many rows an import has newly found to be gone, and warnings about deletions that are withheld."""

    rows: int
    warnings: Sequence[str] = ()


class TooManyDeletions(ProblemError):
    def __init__(self, count: int) -> None:
        detail = f"{count} customers would be deleted. Read the list again. If it is right, approve that number."
        super().__init__(409, "too_many_deletions", detail, extensions={"count": count})


async def mark(connection: asyncpg.Connection, import_id: UUID, deletions: Deletions) -> Gone:
    """Mark the mirror rows that this import has looked at and not found. Rows that are marked already stay as they are.

    Call it in the transaction that completes the import, before the import's readings are deleted, and when no import
    of single rows can start (`stored_ranges.keep`). An import that found an empty table marks nothing.
    """
    earlier = (await waiting_deletions.count(connection))["withheld"]
    warnings = [_still_withheld(earlier)] if earlier else []
    counts = {row["status"]: row["rows"] for row in await connection.fetch(_MARK, import_id)}
    found, count = counts.get("reported", 0), sum(counts.values())
    if not found or deletions.mode == "report":
        return Gone(count, warnings)
    allowed = await _allowed(connection, deletions)
    status = "approved" if found <= allowed else "withheld"
    await connection.execute(_DECIDE, import_id, ["reported"], status)
    return Gone(count, warnings) if status == "approved" else Gone(count, [*warnings, _withheld(found, allowed)])


async def _allowed(connection: asyncpg.Connection, deletions: Deletions) -> int:
    """How many more customers may be deleted now. Not below 0."""
    active, recent = await connection.fetchrow(_ACTIVE_AND_RECENT, _DAY)
    allowed = max(deletions.limit, int(active * deletions.limit_percent / 100))
    return max(0, allowed - int(recent))


def _still_withheld(earlier: int) -> str:
    return (
        f"{earlier} rows that earlier imports have missed are still gone, and their deletions are withheld. "
        "GET /rest/v1/imports/?deletions=withheld lists these imports. Approve the deletions if they are right"
    )


def _withheld(found: int, allowed: int) -> str:
    return (
        f"{found} rows are gone from vAptekeSync; their customers were not deleted, because only {allowed} more may be "
        "deleted within 24 hours (IMPORT_DELETIONS_LIMIT, IMPORT_DELETIONS_LIMIT_PERCENT). Check the table, then "
        "approve the deletions of this import if they are right"
    )


@retry_conflicts
async def approve(connection: asyncpg.Connection, import_id: UUID, count: int) -> int:
    """Approve the deletions that this import has reported or withheld, of rows that are still gone.

    Returns how many customers these are; the sweeper deletes them, about 50 a second. Raises TooManyDeletions if there
    are more than `count`: then nothing is approved. Safe to repeat.
    """
    async with connection.transaction():
        waiting = await connection.fetch(_WAITING, import_id)
        if len(waiting) > count:
            raise TooManyDeletions(len(waiting))
        await connection.execute(_DECIDE, import_id, ["reported", "withheld"], "approved")
        return len(waiting)


async def delete_next(connection: asyncpg.Connection) -> int:
    """Delete the customers of the next rows whose deletion is approved, each in a transaction of its own.

    Returns how many rows it has handled; 0 when none is left. Safe to repeat.
    """
    rows = await connection.fetch(_APPROVED, _DELETED_AT_ONCE)
    for row in rows:
        await _delete(connection, row["legacy_id"], row["customer_id"])
    return len(rows)


@retry_conflicts
async def _delete(connection: asyncpg.Connection, legacy_id: int, customer_id: int) -> None:
    """Delete the customer as the API would. Leaves the customer alone if the row has returned meanwhile."""
    async with connection.transaction():
        customer = await phone_owners.lock(connection, customer_id)
        if await connection.fetchval(_IS_APPROVED, legacy_id) is None:
            return
        is_active = customer is not None and customer["deleted_at"] is None
        if customer is not None and is_active:
            await customer_writes.delete_locked(connection, customer, "import")
        await connection.execute(_SET_STATUS, legacy_id, "applied" if is_active else "left")


async def bring_back(connection: asyncpg.Connection, mirrors: Mapping[int, Mirror]) -> bool:
    """Clear the marks of these mirror rows (by legacy id), and restore the customers who were deleted for them.

    Call it with rows that an import has read. Returns whether any of them was marked: then read the mirror rows again,
    because their customers may be active now. `connection` must not be in a transaction. The caller must hold the lock
    on the stored offsets, so that nobody else applies these rows.
    """
    marked = [legacy_id for legacy_id, mirror in mirrors.items() if mirror.is_gone]
    if marked:
        await connection.execute(_CLEAR, marked)
        for row in await connection.fetch(_STILL_MARKED, marked):
            await _restore(connection, row["legacy_id"], row["customer_id"])
    return bool(marked)


@retry_conflicts
async def _restore(connection: asyncpg.Connection, legacy_id: int, customer_id: int) -> None:
    """Clear the mark of a row whose customer is deleted or is to be deleted for it, and restore the customer."""
    async with connection.transaction():
        customer = await phone_owners.lock(connection, customer_id)
        if customer is not None and customer["deleted_at"] is not None and customer["deleted_by"] is not None:
            await restorations.restore_locked(connection, customer, "import")
        await connection.execute(_CLEAR_ONE, legacy_id)


# Rows that only a losing attempt has read, that were written since, or that an import of single rows has named
# meanwhile, are left to the next import. A mirror row above the last bound that is older than the plan was no longer in
# the table when the plan was made. EXCEPT works range by range, because Postgres cannot tell how many keys the arrays
# hold, and would compare each row with each key.
MISSED: Final = f"""
SELECT missed.legacy_id FROM (
    SELECT each.legacy_id FROM import_chunks w CROSS JOIN LATERAL (
        SELECT m.legacy_id FROM legacy_customers m
        WHERE m.legacy_id BETWEEN coalesce(w.after_id + 1, {limits.INT64_MIN}) AND w.upto_id
            AND coalesce(m.number, 0) < w.number AND m.gone_at IS NULL
        EXCEPT
        SELECT unnest(r.legacy_ids) FROM import_readings r
        WHERE (r.import_id, r.chunk) = (w.import_id, w.chunk)
    ) AS each
    WHERE w.import_id = $1
    UNION ALL
    SELECT m.legacy_id FROM legacy_customers m JOIN imports i ON i.id = $1
    WHERE m.legacy_id > coalesce(i.last_bound, (SELECT max(upto_id) FROM import_chunks WHERE import_id = $1))
        AND coalesce(m.number, 0) < i.plan_number AND m.gone_at IS NULL
) AS missed WHERE missed.legacy_id NOT IN ({NAMED_MEANWHILE})
"""
"""SQL: the legacy ids of mirror rows that the import $1 has looked at and not found. Marked ones are left out."""

# Rows of earlier releases have no `joined`. Imports did not overlap, so the customer is of an import if the last import
# that was requested before `created_at` ended after it. The subquery must read only that import: comparing 100,000 rows
# with 2,000 imports took more than a minute, so the statement was cancelled and the import could never complete.
_MARK = f"""
WITH missed AS ({MISSED}),
gone AS (
    SELECT m.legacy_id, c.id IS NULL OR c.deleted_at IS NOT NULL OR coalesce(m.joined, (
        SELECT c.created_at > i.finished_at FROM imports i WHERE i.requested_at <= c.created_at
        ORDER BY i.requested_at DESC LIMIT 1
    ), true) AS is_left
    FROM missed JOIN legacy_customers m USING (legacy_id) LEFT JOIN customers c ON c.id = m.customer_id
),
marked AS (
    UPDATE legacy_customers m
    SET gone_at = now(), gone_in = $1, gone_as = CASE WHEN gone.is_left THEN 'left' ELSE 'reported' END
    FROM gone WHERE m.legacy_id = gone.legacy_id RETURNING m.gone_as
)
SELECT gone_as AS status, count(*) AS rows FROM marked GROUP BY gone_as
"""

_ACTIVE_AND_RECENT = """
SELECT
    (SELECT count(*) FROM legacy_customers m JOIN customers c ON c.id = m.customer_id WHERE c.deleted_at IS NULL),
    (
        SELECT count(*) FROM legacy_customers m LEFT JOIN customers c ON c.id = m.customer_id
        WHERE m.gone_in IS NOT NULL
            AND (m.gone_as = 'approved' OR m.gone_as = 'applied' AND c.deleted_at > now() - $1::interval)
    )
"""

_DECIDE = "UPDATE legacy_customers SET gone_as = $3 WHERE gone_in = $1 AND gone_as = ANY($2::text[])"

_WAITING = """
SELECT legacy_id FROM legacy_customers WHERE gone_in = $1 AND gone_as IN ('reported', 'withheld') FOR NO KEY UPDATE
"""

_APPROVED = """
SELECT legacy_id, customer_id FROM legacy_customers WHERE gone_as = 'approved' ORDER BY legacy_id LIMIT $1
"""
_IS_APPROVED = "SELECT legacy_id FROM legacy_customers WHERE legacy_id = $1 AND gone_as = 'approved'"
_SET_STATUS = "UPDATE legacy_customers SET gone_as = $2 WHERE legacy_id = $1"

_UNMARKED = "gone_at = NULL, gone_in = NULL, gone_as = NULL"
_CLEAR = f"""
UPDATE legacy_customers SET {_UNMARKED}
WHERE legacy_id = ANY($1::bigint[]) AND gone_as IN ('reported', 'withheld', 'left')
"""
_STILL_MARKED = "SELECT legacy_id, customer_id FROM legacy_customers WHERE legacy_id = ANY($1) AND gone_at IS NOT NULL"
_CLEAR_ONE = f"UPDATE legacy_customers SET {_UNMARKED} WHERE legacy_id = $1"
