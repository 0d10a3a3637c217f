"""Writes of the schedule: start an import that is due, pause and resume."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.imports import folding
from customers_api.imports import writes as import_writes
from customers_api.imports.fields import BY_SCHEDULE, TableKind
from customers_api.schedule import queries, steps
from customers_api.schedule.steps import Step, Stored
from customers_api.schedule.times import Schedule


class Advance(NamedTuple):
    """A step that was made. `before` is the state before it. `started` is the import that was due, and `is_new` whether
    it was started; otherwise it was running already and was joined. `folded_into` is the import into which the one that
    has ended was folded.
    """

    before: Stored
    step: Step
    started: asyncpg.Record | None = None
    is_new: bool = False
    folded_into: UUID | None = None

    @property
    def has_failed(self) -> bool:
        return bool(self.step.failures > self.before["failures"])


@retry_conflicts
async def advance(
    connection: asyncpg.Connection, schedule: Schedule | None, rows_per_range: int, now: datetime
) -> Advance | None:
    """Make the next step of the schedule, if there is one to make at `now`. Safe to repeat.

    The state is locked before the step is decided, and the next due time is stored in the transaction that requests the
    import. So two processes start one import. The caller must report the step (`scheduler.py`), and call again.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        stored = await queries.find(connection)
        step = steps.decide(stored, schedule, now)
        return None if step is None else await _make(connection, stored, step, schedule, rows_per_range, now)


async def _kind(connection: asyncpg.Connection, schedule: Schedule, now: datetime) -> TableKind:
    """Which kind of import is due. Of `changes`, now and then a full one, which finds what fingerprints cannot show."""
    if schedule.kind != "changes":
        return schedule.kind
    last = await connection.fetchval(_LAST_FULL)
    is_due = last is None or now - last >= timedelta(hours=schedule.full_every_hours)
    return "full" if is_due else "changes"


async def _make(
    connection: asyncpg.Connection,
    stored: Stored,
    step: Step,
    schedule: Schedule | None,
    rows_per_range: int,
    now: datetime,
) -> Advance:
    text, kind, timezone, _ = schedule or (None, None, None, None)
    made = await _ended(connection, Advance(stored, step))
    if step.starts and schedule is not None:
        due = await _kind(connection, schedule, now)
        job, is_new = await import_writes.request(
            connection, rows_per_range, kind=due, requested_by=BY_SCHEDULE, by_schedule=True
        )
        made = Advance(stored, step, job, is_new)
    import_id = made.started["id"] if made.started else None if step.ended else stored["import_id"]
    await connection.execute(_STORE, text, kind, timezone, step.next_at, step.failures, import_id)
    return made


async def _ended(connection: asyncpg.Connection, made: Advance) -> Advance:
    """Write what follows from the end of the import that the schedule has started, if the step notes one."""
    import_id = made.before["import_id"]
    if made.has_failed:
        await connection.execute(_WARN, import_id, retry_warning(made.step))
    if made.step.ended and made.before["import_status"] == "completed":
        return made._replace(folded_into=await folding.fold(connection, import_id))
    return made


def retry_warning(step: Step) -> str:
    return f"the schedule retries at {step.next_at:%F %T} UTC; failures in a row: {step.failures}"


async def pause(connection: asyncpg.Connection, paused_by: str, now: datetime) -> None:
    """Pause the schedule: it starts no import until `resume`. A running import goes on. Safe to repeat."""
    await connection.execute(_PAUSE, now, paused_by)


async def resume(connection: asyncpg.Connection, now: datetime) -> None:
    """End the pause, and the wait after failures. Due times that have passed meanwhile are skipped. Safe to repeat."""
    await connection.execute(_RESUME, now)


_LOCK: Final = "SELECT FROM import_schedule FOR UPDATE"

_LAST_FULL: Final = "SELECT max(requested_at) FROM imports WHERE kind = 'full' AND status = 'completed'"

_STORE: Final = """
UPDATE import_schedule SET schedule = $1, kind = $2, timezone = $3, next_at = $4, failures = $5, import_id = $6
"""

_WARN: Final = "UPDATE imports SET warnings = warnings || $2::text WHERE id = $1"

_PAUSE: Final = "UPDATE import_schedule SET paused_at = $1, paused_by = $2 WHERE paused_at IS NULL"

# A time that has passed is forgotten, because perhaps no process ran during the pause; the leader works it out again.
_RESUME: Final = """
UPDATE import_schedule SET
    paused_at = NULL, paused_by = NULL, failures = 0,
    next_at = CASE WHEN next_at > $1 AND failures = 0 THEN next_at END
WHERE paused_at IS NOT NULL OR failures > 0
"""
