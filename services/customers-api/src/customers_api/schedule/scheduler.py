"""Runs the schedule in the leader of the sweeper, and shows its times as metrics."""

from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
from prometheus_client import Gauge
from vapteke_shared.process import logs

from customers_api.schedule import queries, steps, writes
from customers_api.schedule.steps import Stored
from customers_api.schedule.times import Schedule
from customers_api.schedule.writes import Advance

log = logs.get(__name__)
last_completed = Gauge(
    "vapteke_last_completed_import_timestamp_seconds",
    "When an import of kind full or changes last completed; 0: never, or another process is the leader",
)
next_due = Gauge(
    "vapteke_next_import_timestamp_seconds",
    "When the schedule starts the next import; 0: there is none, it is paused, or another process is the leader",
)


def _now() -> datetime:
    return datetime.now(UTC)


class Scheduler:
    """Starts the imports of `schedule`, with key ranges of `rows_per_range` rows. None: no import starts by itself."""

    def __init__(
        self, schedule: Schedule | None = None, rows_per_range: int = 10_000, clock: Callable[[], datetime] = _now
    ) -> None:
        self._schedule, self._rows_per_range, self._clock = schedule, rows_per_range, clock

    async def advance(self, connection: asyncpg.Connection) -> None:
        """Make the steps that are due, and log them; then set the metrics. Only the leader may call it."""
        now = self._clock()
        stored = await queries.find(connection)
        while steps.decide(stored, self._schedule, now) is not None:
            made = await writes.advance(connection, self._schedule, self._rows_per_range, now)
            if made is not None:
                _report(made)
            stored = await queries.find(connection)
        show(stored)


def show(stored: Stored) -> None:
    """Set the metrics to the times of the stored schedule."""
    due_at = None if stored["paused_at"] else stored["next_at"]
    last_completed.set(_seconds(stored["last_completed_at"]))
    next_due.set(_seconds(due_at))


def hide() -> None:
    """Set the metrics to 0: this process is no longer the leader."""
    last_completed.set(0)
    next_due.set(0)


def _seconds(at: datetime | None) -> float:
    return at.timestamp() if at else 0


def _report(made: Advance) -> None:
    next_at = made.step.next_at and made.step.next_at.isoformat()
    if made.started is not None:
        event = "import of the schedule requested" if made.is_new else "import of the schedule joins the running one"
        log.info(event, import_id=str(made.started["id"]), due_at=made.before["next_at"].isoformat(), next_at=next_at)
    elif made.folded_into is not None:
        import_id, folded_into = str(made.before["import_id"]), str(made.folded_into)
        log.info("import of the schedule has found nothing and is folded", import_id=import_id, folded_into=folded_into)
    elif made.has_failed:
        import_id, failures = str(made.before["import_id"]), made.step.failures
        log.warning("import of the schedule failed", import_id=import_id, failures=failures, next_at=next_at)
