"""Plans an import of changes: asks vAptekeSync which of the stored key ranges have changed since they were read.

A transaction cannot hide a change, however late it commits: each import sums all rows of each range, so the next import
finds what has become visible since.
"""

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from vapteke_shared.contract.events.imports import PlanRequested
from vapteke_shared.process import logs

from legacy_importer import fingerprints, legacy
from legacy_importer.connection import Connection
from legacy_importer.fingerprints import Method
from legacy_importer.legacy import KeyRange, Plan
from legacy_importer.legacy_errors import RowsLocked, UnreadableValue
from legacy_importer.settings import LegacySettings

_ROWS_PER_STATEMENT = 200_000
_RANGES_PER_STATEMENT = 100

log = logs.get(__name__)


class ChangesPlan(NamedTuple):
    """The plan of all key ranges, the numbers of those that need not be read, and how many rows these have in all."""

    plan: Plan
    unread: list[int]
    unread_rows: int
    warnings: list[str]


def why_full(task: PlanRequested, method: Method) -> str | None:
    """Why the stored fingerprints of the task cannot be compared with those of today; None if they can."""
    bounds = task.stored_bounds or []
    if not bounds or len(bounds) != len(task.stored_fingerprints or []) or bounds != sorted(set(bounds)):
        return "no key ranges are stored"
    if task.basis is None or method.basis is None:
        return "the basis of the stored fingerprints is not known"
    parts = [part for part in method.basis.keys() | task.basis.keys() if method.basis.get(part) != task.basis.get(part)]
    return f"these have changed since the last import: {', '.join(sorted(parts))}" if parts else None


async def plan(
    connection: Connection, settings: LegacySettings, task: PlanRequested, method: Method
) -> ChangesPlan | None:
    """The plan for a task whose stored fingerprints can be compared; None if the table is empty. Raises LegacyError.

    Rows above the last stored range get ranges of their own. If the last stored range is not full, it is planned again
    together with them: otherwise each import of a few new rows would leave a small range behind.
    """
    bounds, stored = task.stored_bounds or [], dict(enumerate(task.stored_fingerprints or []))
    ranges = [KeyRange(chunk, *ends) for chunk, ends in enumerate(zip([None, *bounds], bounds, strict=False))]
    new = await legacy.plan(connection, settings, task.rows_per_range, bounds[-1])
    found = await _fingerprints(connection, settings, method, ranges, task.rows_per_range)
    last = ranges[-1]
    if new.row_count and _rows(last, found, stored) < task.rows_per_range:
        new = await legacy.plan(connection, settings, task.rows_per_range, last.after_id)
        ranges.pop()
    unread = [each for each in ranges if each.chunk in found and found[each.chunk] == stored[each.chunk]]
    row_count = new.row_count + sum(_rows(each, found, stored) for each in ranges)
    if not row_count:
        return None
    return ChangesPlan(
        Plan(row_count, [each.upto_id for each in ranges] + new.upper_bounds),
        [each.chunk for each in unread],
        sum(_rows(each, found, stored) for each in unread),
        [_warning(each) for each in ranges if each.chunk not in found],
    )


def _rows(each: KeyRange, found: Mapping[int, str], stored: Mapping[int, str | None]) -> int:
    fingerprint = found.get(each.chunk) or stored[each.chunk]
    return fingerprints.rows(fingerprint) if fingerprint else 0


def _warning(each: KeyRange) -> str:
    return (
        f"the keys up to {each.upto_id} could not be compared with what was read before, because a transaction held "
        "some of them, or a row cannot be selected: they were read"
    )


async def _fingerprints(
    connection: Connection, settings: LegacySettings, method: Method, ranges: list[KeyRange], rows_per_range: int
) -> dict[int, str]:
    """The fingerprints of the ranges as vAptekeSync computes them now, by the number of the range.

    A range is left out if a transaction holds one of its rows, or if one cannot be selected. Raises LegacyError.
    """
    found: dict[int, str] = {}
    await legacy.give_up_locks_early(connection)
    size = min(_RANGES_PER_STATEMENT, max(1, _ROWS_PER_STATEMENT // rows_per_range))
    pending = iter(ranges)
    while group := list(islice(pending, size)):
        try:
            found |= await legacy.fingerprints_of(connection, settings, method, group)
        except (RowsLocked, UnreadableValue):
            found |= await _one_by_one(connection, settings, method, group)
    return found


async def _one_by_one(
    connection: Connection, settings: LegacySettings, method: Method, group: list[KeyRange]
) -> dict[int, str]:
    found: dict[int, str] = {}
    for each in group:
        try:
            found |= await legacy.fingerprints_of(connection, settings, method, [each])
        except (RowsLocked, UnreadableValue) as error:
            log.warning("the fingerprint of a range is not available", upto_id=each.upto_id, error=str(error))
    return found
