"""Warnings about a plan, for an operator: texts in `warnings` of the job. The import goes on."""

from collections.abc import Iterator

from vapteke_shared.contract.events.imports import Planned

EMPTY_TABLE = "the legacy table is empty"
CLOCK_SECONDS = 60
"""Clocks that differ by less are not worth a warning."""
FALL_PERCENT = 5
"""A row count that fell by less is not worth a warning."""


def of_plan(event: Planned, last_ahead: float | None, last_rows: int | None) -> list[str]:
    """The importer's own warnings, and ours about the number of rows and about clocks. Empty if there are none.

    `last_ahead` is `seconds_ahead` of the last import for which it is known. None: it was never known. `last_rows` is
    the number of rows that the last completed import found. None: no import has completed.
    """
    return [*(event.warnings or ()), *_of_rows(event, last_rows), *_of_clocks(event, last_ahead)]


def _of_rows(event: Planned, last_rows: int | None) -> Iterator[str]:
    if not event.upper_bounds:
        yield EMPTY_TABLE
    elif last_rows and event.row_count * 100 < last_rows * (100 - FALL_PERCENT):
        percent = 100 * (last_rows - event.row_count) / last_rows
        yield (
            f"the legacy table has {event.row_count:,} rows, {percent:.1f} % fewer than the {last_rows:,} of the "
            "import before. If that is not intended, restore the rows in vAptekeSync and start another import"
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
