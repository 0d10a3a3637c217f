"""Decides which events of importers count, and finds plans and publications that no importer can have sent.

An event about a legacy row counts if it is of the unfinished import, its row lies in a dispatched range, and it has the
range's dispatch number or, from an importer of the previous release, none.

Everyone with write access to the topics can forge an event. A forged event about a range that was never dispatched
changes nothing. One about a dispatched range is applied only while its import is unfinished, and gives way to every
reading of a later import, which has higher dispatch numbers.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import asyncpg
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events.imports import Planned, RangePublished
from vapteke_shared.contract.events.legacy_customers import LegacyRowEvent

from customers_api.imports.tables import UNFINISHED

_BELOW_ALL_KEYS = limits.INT64_MIN - 1


class Range(NamedTuple):
    """A key range: the rows with `after_id` < key <= `upto_id`. `after_id` is None if there is no lower bound.

    `number` is the dispatch number. It is None if the previous release dispatched the range. `keys`: only these rows
    were requested; None: all of the range.
    """

    number: int | None
    after_id: int | None
    upto_id: int
    keys: frozenset[int] | None = None

    @property
    def after(self) -> int:
        return _BELOW_ALL_KEYS if self.after_id is None else self.after_id


class Admission(NamedTuple):
    """The unfinished import of a batch's events (None: it is none), and by chunk those of its dispatched ranges that
    the events name.
    """

    import_id: UUID | None
    ranges: Mapping[int, Range]
    kind: str = "full"

    def reason_to_ignore(self, event: LegacyRowEvent) -> str | None:
        """Why the caller must ignore this event, as a word for the metric `ignored_events`. None if it counts."""
        if self.import_id is None or event.import_id.int != self.import_id.int:  # faster than comparing the UUIDs
            return "import_not_alive"
        dispatched = self.ranges.get(event.chunk)
        if dispatched is None or not is_current(event.number, dispatched.number):
            return "not_handed_out"
        if event.legacy_id > dispatched.upto_id or event.legacy_id <= dispatched.after:
            return "outside_of_the_range"
        if dispatched.keys is not None and event.legacy_id not in dispatched.keys:
            return "outside_of_the_range"
        return None


NONE = Admission(None, {})
"""Admits no event."""


async def read(connection: asyncpg.Connection, events: Sequence[LegacyRowEvent]) -> Admission:
    """Read whether the import of these events is unfinished, and those of its dispatched ranges that they name.

    The events must be of one import. Without events, nothing is admitted.

    The ranges need no lock: a range is dispatched before its events arrive, and its dispatch number never changes. The
    import may end meanwhile: before applying the events, the caller must lock it with `writes.lock_unfinished`.
    """
    if not events:
        return NONE
    chunks = list({event.chunk for event in events})
    rows = await connection.fetch(_DISPATCHED, events[0].import_id, UNFINISHED, chunks)
    ranges = {row["chunk"]: _range(row) for row in rows}
    ranges.pop(None, None)
    return Admission(rows[0]["id"], ranges, rows[0]["kind"]) if rows else NONE


def _range(row: asyncpg.Record) -> Range:
    keys = row["legacy_ids"]
    return Range(row["number"], row["after_id"], row["upto_id"], None if keys is None else frozenset(keys))


def is_current(number: int | None, dispatched: int | None) -> bool:
    """Whether an event's number equals its range's dispatch number, `dispatched`.

    An event without a number is current: an importer of the previous release sends none.
    """
    return number is None or number == dispatched


def fault_of_plan(plan: Planned) -> str | None:
    """What is wrong with a plan that no importer can have sent. None if the plan is valid."""
    bounds = plan.upper_bounds
    if len(bounds) > limits.RANGES_PER_PLAN:
        return "more ranges than a plan can have"
    if any(lower >= upper for lower, upper in pairwise(bounds)):
        return "bounds that are not ascending"
    is_full = plan.unread is None  # rows may have gone from the ranges of an import of changes
    if (is_full and plan.row_count < len(bounds)) or (plan.row_count > 0) != bool(bounds):
        return "a number of rows that does not fit its ranges"
    if plan.unread and max(plan.unread) >= len(bounds):
        return "unread ranges that it does not have"
    return None


def fault_of_publication(event: RangePublished, dispatched: Range) -> str | None:
    """What is wrong with a `range_published` event that no importer can have sent. None if the event is valid."""
    if dispatched.after_id is not None and event.event_count > dispatched.upto_id - dispatched.after_id:
        return "more rows than the range has keys"
    if event.event_count < len(event.last_offsets):
        return "more partitions than events"
    return None


HAS_PASSED = f"""NOT EXISTS (
        SELECT FROM jsonb_each_text(c.last_offsets) AS l
        LEFT JOIN consumed_offsets o ON o.topic = '{topics.LEGACY_CUSTOMERS.name}' AND o.partition = l.key::int
        WHERE coalesce(o.next_offset, 0) <= l.value::bigint
    )"""
"""SQL: whether all events of the published range `c`, a row of `import_chunks`, are applied. That is the case when, in
each partition with such events, the stored (next) offset is greater than the offset of the last of these events."""

_DISPATCHED = """
SELECT i.id, i.kind, c.chunk, c.number, c.after_id, c.upto_id, CASE WHEN i.kind = 'rows' THEN (
    SELECT array_agg(r.legacy_id) FROM import_rows r WHERE (r.import_id, r.chunk) = (c.import_id, c.chunk)
) END AS legacy_ids
FROM imports i
LEFT JOIN import_chunks c ON c.import_id = i.id AND c.chunk = ANY ($3::int[]) AND c.status <> 'planned'
WHERE i.id = $1 AND i.status = ANY ($2)
"""
