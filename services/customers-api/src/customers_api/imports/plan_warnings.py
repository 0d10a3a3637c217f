"""Warnings about a plan, for an operator: texts in `warnings` of the job. The import goes on."""

from collections.abc import Iterator

from vapteke_shared.contract.events.imports import Planned

EMPTY_TABLE = "the legacy table is empty"
CLOCK_SECONDS = 60
"""Clocks that differ by less are not worth a warning."""


def of_plan(event: Planned, last_ahead: float | None) -> list[str]:
    """The importer's own warnings, and ours about an empty table and about clocks. Empty if there are none.

    `last_ahead` is `seconds_ahead` of the last import for which it is known. None: it was never known.
    """
    empty = [] if event.upper_bounds else [EMPTY_TABLE]
    return [*(event.warnings or ()), *empty, *_of_clocks(event, last_ahead)]


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
