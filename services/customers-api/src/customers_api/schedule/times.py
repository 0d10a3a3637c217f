"""Works out when imports are due: at the times of a cron expression, or every so many seconds, minutes or hours."""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from customers_api.imports.fields import TableKind

_INTERVAL: Final = re.compile(r"every ([1-9][0-9]{0,4})([smh])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_CRON_FIELDS: Final = 5  # cronsim also reads six, with seconds, but then ignores daylight-saving time
_EXPECTED: Final = "use five cron fields, such as 0 3 * * * (every day at 03:00), or an interval, such as every 15m"


class Schedule(NamedTuple):
    """When imports start by themselves, and which. `text` is valid (see `checked`), and `timezone` is an IANA name.

    If `kind` is `changes`, an import is full when the last full one is older than `full_every_hours`.
    """

    text: str
    kind: TableKind
    timezone: str
    full_every_hours: float = 24

    def next_after(self, now: datetime) -> datetime:
        """The first due time after `now`, in UTC.

        Intervals are counted from midnight of 1 January 1970, UTC. Cron times are in `timezone`. A time at a fixed hour
        is due exactly once a day: right after the gap in the night that skips it, and at its first occurrence in the
        night that has it twice.
        """
        interval = _INTERVAL.fullmatch(self.text)
        if interval:
            seconds = int(interval[1]) * _SECONDS[interval[2]]
            return datetime.fromtimestamp((now.timestamp() // seconds + 1) * seconds, UTC)
        # Within an hour that comes twice, cronsim would return a time of its second pass: begin in the first pass.
        begin = now.astimezone(ZoneInfo(self.timezone)).replace(fold=0)
        return next(at for at in (each.astimezone(UTC) for each in CronSim(self.text, begin)) if at > now)


def checked(text: str) -> str:
    """`text` without surrounding blanks. Raises ValueError, which says what to write, unless it is a schedule."""
    text = text.strip()
    if _INTERVAL.fullmatch(text):
        return text
    if len(text.split()) != _CRON_FIELDS:
        raise ValueError(f"is not a schedule: {_EXPECTED}")
    try:
        CronSim(text, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"is not a schedule ({error}): {_EXPECTED}") from None
    return text
