"""Decides what the schedule does next. Pure: the stored state and the time in, the decision out."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from customers_api.schedule.times import Schedule

RETRY_MINUTES: Final = (1, 2, 5, 15, 30, 60)
"""The pause after the first, second, … failure in a row. The last one is repeated."""

Stored = Mapping[str, Any]
"""A row of `queries.find`."""


class Step(NamedTuple):
    """What changes: when the next import is due, and how many have failed in a row.

    `starts`: an import is due now. `ended`: the end of the import that the schedule started last was noted.
    """

    next_at: datetime | None
    failures: int
    starts: bool = False
    ended: bool = False


def decide(stored: Stored, schedule: Schedule | None, now: datetime) -> Step | None:
    """What to do now, or None if there is nothing to do. Call it again after each step."""
    if _settings_differ(stored, schedule):
        return _begin(stored, schedule, now)
    if schedule is None:
        return None
    if stored["import_status"] is not None:
        return _note_end(stored, now)
    if stored["has_recovered"]:
        return Step(schedule.next_after(now), 0)
    next_at = stored["next_at"]
    if next_at is None or next_at <= now or next_at > _latest(schedule, now):
        due = next_at is not None and next_at <= now and stored["paused_at"] is None
        return Step(schedule.next_after(now), stored["failures"], starts=due)
    return None


def _latest(schedule: Schedule, now: datetime) -> datetime:
    """The latest possible due time. A later one was stored while a clock was wrong.

    This is the due time after the next one, because a process whose clock is a little ahead may already have started
    the next import; or the longest pause after a failure, if that ends later.
    """
    return max(schedule.next_after(schedule.next_after(now)), now + timedelta(minutes=RETRY_MINUTES[-1]))


def _settings_differ(stored: Stored, schedule: Schedule | None) -> bool:
    text, kind, timezone, _ = schedule or (None, None, None, None)
    return (stored["schedule"], stored["kind"], stored["timezone"]) != (text, kind, timezone)


def _begin(stored: Stored, schedule: Schedule | None, now: datetime) -> Step:
    """A new schedule has missed nothing. Another kind alone leaves the next time as it is."""
    if schedule is None:
        return Step(None, 0, ended=True)
    if (stored["schedule"], stored["timezone"]) == (schedule.text, schedule.timezone):
        return Step(stored["next_at"], stored["failures"])
    return Step(schedule.next_after(now), 0, ended=True)


def _note_end(stored: Stored, now: datetime) -> Step:
    """After a failure, the next import starts after a growing pause. Any other end leaves the next time as it is."""
    if stored["import_status"] != "failed":
        return Step(stored["next_at"], 0, ended=True)
    failures = stored["failures"] + 1
    pause = timedelta(minutes=RETRY_MINUTES[min(failures, len(RETRY_MINUTES)) - 1])
    return Step(now + pause, failures, ended=True)
