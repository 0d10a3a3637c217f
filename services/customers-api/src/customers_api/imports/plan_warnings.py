"""Warnings about a plan, for an operator: texts in `warnings` of the job. The import goes on."""

from collections.abc import Iterator
from typing import NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract.events.imports import Planned

from customers_api.imports.fields import FRESH_KINDS

EMPTY_TABLE = "the legacy table is empty"
CLOCK_SECONDS = 60
"""Clocks that differ by less are not worth a warning."""
FALL_PERCENT = 5
"""A row count that fell by less is not worth a warning."""


class Last(NamedTuple):
    """What earlier imports have found. `ahead` is `seconds_ahead` of the last import for which it is known.

    `rows` is the number of rows that the last completed import found, and `columns` its `Planned.columns`, in JSON.
    Each is None if it is not known.
    """

    ahead: float | None = None
    rows: int | None = None
    columns: str | None = None


async def find_last(connection: asyncpg.Connection) -> Last:
    """What the warnings of a plan compare it with. Call it before the plan is stored."""
    return Last(*await connection.fetchrow(_LAST, FRESH_KINDS))


def of_plan(event: Planned, last: Last) -> list[str]:
    """The importer's own warnings, and ours about rows, columns and clocks. Empty if there are none."""
    ours = (*_of_rows(event, last.rows), *_of_columns(event, last.columns), *_of_clocks(event, last.ahead))
    return [*(event.warnings or ()), *ours]


def _of_rows(event: Planned, last_rows: int | None) -> Iterator[str]:
    if not event.upper_bounds:
        yield EMPTY_TABLE
    elif last_rows and event.row_count * 100 < last_rows * (100 - FALL_PERCENT):
        percent = 100 * (last_rows - event.row_count) / last_rows
        yield (
            f"the legacy table has {event.row_count:,} rows, {percent:.1f} % fewer than the {last_rows:,} of the "
            "import before. If that is not intended, restore the rows in vAptekeSync and start another import"
        )


def _of_columns(event: Planned, last_columns: str | None) -> Iterator[str]:
    now, before = event.columns or {}, msgspec.json.decode(last_columns) if last_columns else {}
    changes = [
        f"{field} was read from {before[field]} and is read from {now[field]}"
        for field in now.keys() & before.keys()
        if now[field] != before[field]
    ]
    if changes:
        yield (
            "columns of vAptekeSync or VAPTEKESYNC_COLUMNS have changed since an import last completed: "
            f"{', '.join(sorted(changes))}. If that is not intended, cancel this import and correct the table or the "
            "setting; otherwise compare its rejections with those of the import before"
        )


def seconds_ahead(event: Planned) -> float | None:
    """Seconds by which vAptekeSync's clock is ahead of the importer's; negative if it is behind.

    None if the importer does not report the two clocks.
    """
    if event.source_at is None or event.importer_at is None:
        return None
    return (event.source_at - event.importer_at).total_seconds()


def _of_clocks(event: Planned, last_ahead: float | None) -> Iterator[str]:
    ahead = seconds_ahead(event)
    if ahead is None:
        return
    if abs(ahead) > CLOCK_SECONDS:
        yield (
            f"vAptekeSync's clock showed {event.source_at:%Y-%m-%d %H:%M:%S %Z} when the importer's showed "
            f"{event.importer_at:%Y-%m-%d %H:%M:%S %Z}: it is {_apart(ahead)}. Set the clock that is wrong"
        )
    if last_ahead is not None and abs(ahead - last_ahead) > CLOCK_SECONDS:
        yield (
            f"vAptekeSync's clock has jumped since the import before: compared with the importer's it was "
            f"{_apart(last_ahead)}, now it is {_apart(ahead)}"
        )


def _apart(seconds: float) -> str:
    return f"{abs(seconds):,.0f} s {'behind' if seconds < 0 else 'ahead'}"


_LAST = """
SELECT (
    SELECT source_ahead_seconds FROM imports WHERE source_ahead_seconds IS NOT NULL
    ORDER BY requested_at DESC, id LIMIT 1
), (
    SELECT read + unread FROM imports WHERE status = 'completed' AND kind = ANY($1)
    ORDER BY requested_at DESC, id LIMIT 1
), (
    SELECT columns::text FROM imports WHERE status = 'completed' AND kind = ANY($1) AND columns IS NOT NULL
    ORDER BY requested_at DESC, id LIMIT 1
)
"""
