"""Which events of an import count: those of the import that is alive, about what was handed out, under its number.

Whoever may write to the topics can forge an event. One that names what was never handed out changes nothing; one that
names a hand-out of the import that is alive harms that import at most, since every later reading has a greater number.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import asyncpg
from prometheus_client import Counter
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events.imports import Planned, RangePublished
from vapteke_shared.contract.events.legacy_customers import LegacyRowEvent

from customers_api.imports.tables import ALIVE

_BELOW_ALL_KEYS = limits.INT64_MIN - 1

ignored = Counter(
    "vapteke_ignored_events",
    "Events that change nothing: of an import that has ended or is unknown, of no hand-out, senseless, or repeated",
    ["reason"],
)


class Range(NamedTuple):
    """A key range as it was handed out: the rows with `after_id` < key <= `upto_id`."""

    number: int | None
    after_id: int | None
    upto_id: int

    @property
    def after(self) -> int:
        return _BELOW_ALL_KEYS if self.after_id is None else self.after_id


class Admission(NamedTuple):
    """The import that is alive, and the ranges of it that were handed out."""

    import_id: UUID | None
    ranges: Mapping[int, Range]

    def refusal(self, event: LegacyRowEvent) -> str | None:
        """Why this event of a row changes nothing, as a word; None: it counts."""
        if event.import_id != self.import_id:
            return "import_not_alive"
        handed_out = self.ranges.get(event.chunk)
        if handed_out is None or not is_current(event.number, handed_out.number):
            return "not_handed_out"
        if event.legacy_id > handed_out.upto_id or event.legacy_id <= handed_out.after:
            return "outside_of_the_range"
        return None


async def read(connection: asyncpg.Connection, events: Collection[LegacyRowEvent]) -> Admission:
    """Whatever is handed out stays so, and was before its events came: no lock is needed."""
    rows = await connection.fetch(_HANDED_OUT, ALIVE, list({event.chunk for event in events}))
    ranges = {row["chunk"]: Range(row["number"], row["after_id"], row["upto_id"]) for row in rows}
    ranges.pop(None, None)
    return Admission(rows[0]["id"] if rows else None, ranges)


def is_current(number: int | None, handed_out: int | None) -> bool:
    """An importer of the release before gives no number back: it can have only this hand-out."""
    return number is None or number == handed_out


def fault_of_plan(plan: Planned) -> str | None:
    """Why no importer can have sent this plan."""
    bounds = plan.upper_bounds
    if len(bounds) > limits.RANGES_PER_PLAN:
        return "more ranges than a plan can name"
    if any(lower >= upper for lower, upper in pairwise(bounds)):
        return "bounds that do not ascend"
    if plan.row_count < len(bounds) or (plan.row_count > 0) != bool(bounds):
        return "another number of rows than its ranges can have"
    return None


def fault_of_publication(event: RangePublished, handed_out: Range) -> str | None:
    """Why no importer can have published this."""
    if handed_out.after_id is not None and event.event_count > handed_out.upto_id - handed_out.after_id:
        return "more rows than the range has keys"
    if event.event_count < len(event.last_offsets):
        return "more partitions than events"
    return None


HAS_PASSED = f"""NOT EXISTS (
        SELECT FROM jsonb_each_text(c.last_offsets) AS l
        LEFT JOIN consumed_offsets o ON o.topic = '{topics.LEGACY_CUSTOMERS.name}' AND o.partition = l.key::int
        WHERE coalesce(o.next_offset, 0) <= l.value::bigint
    )"""
"""Whether what range `c` has published is applied: in each partition that has events of it, the stored (next) offset
lies above the last of them."""

_HANDED_OUT = """
SELECT i.id, c.chunk, c.number, c.after_id, c.upto_id FROM imports i
LEFT JOIN import_chunks c ON c.import_id = i.id AND c.chunk = ANY ($2::int[]) AND c.status <> 'planned'
WHERE i.status = ANY ($1)
"""
