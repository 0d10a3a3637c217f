"""Counts the rows of a batch by class, and keeps which rows were read and why rows and values were rejected."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final
from uuid import UUID

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead

from customers_api.imports.state import CLASSES, Class, Incoming

Counted = tuple[Incoming, Class]
_UNCHANGED: Final[Class] = "unchanged"


async def add(
    connection: asyncpg.Connection,
    import_id: UUID,
    unchanged: Sequence[Incoming],
    others: Sequence[Incoming],
    classes: Sequence[Class],
    customer_ids: Mapping[int, int],
) -> None:
    """Add a batch to the counts, readings and rejections of the import, in the caller's transaction.

    `classes` are those of `others`. `customer_ids` has by legacy id the customers of those `others` that have one. A
    second call would count the batch twice: call it in the transaction that also stores the batch's offsets.
    """
    all_classes = [*repeat(_UNCHANGED, len(unchanged)), *classes]
    attempts = list(_by_attempt([*unchanged, *others], all_classes))
    await connection.executemany(_ADD_READING, [(import_id, *_reading(each)) for each in attempts])
    await connection.executemany(_ADD_COUNTS, [(import_id, *count) for each in attempts for count in _counts(each)])
    if rejections := list(_rejections(others, classes, customer_ids)):
        await connection.execute(_ADD_REJECTIONS, import_id, *map(list, zip(*rejections, strict=True)))


def _by_attempt(incoming: Sequence[Incoming], classes: Sequence[Class]) -> Iterator[list[Counted]]:
    """The rows of each attempt at a range, sorted by chunk and attempt: one order in all transactions, so that two of
    them do not deadlock.
    """
    groups = defaultdict[tuple[int, int], list[Counted]](list)
    for counted in zip(incoming, classes, strict=True):
        event = counted[0].event
        groups[event.chunk, event.attempt.int].append(counted)  # an integer is compared faster than a UUID
    return (groups[key] for key in sorted(groups))


def _reading(rows: Sequence[Counted]) -> tuple[Any, ...]:
    """Chunk, attempt, latest `read_at` and the legacy ids of an attempt's rows."""
    events = [event for (_, event), _ in rows]
    read_at = max(event.read_at for event in events)
    return events[0].chunk, events[0].attempt, read_at, sorted(event.legacy_id for event in events)


def _counts(rows: Sequence[Counted]) -> Iterator[tuple[Any, ...]]:
    """For each partition: chunk, attempt, partition, and how many of the attempt's rows are in each class."""
    event = rows[0][0].event
    counts = Counter((partition, kind) for (partition, _), kind in rows)
    for partition in sorted({partition for partition, _ in counts}):
        yield event.chunk, event.attempt, partition, *(counts[partition, kind] for kind in CLASSES)


def _rejections(
    incoming: Sequence[Incoming], classes: Sequence[Class], customer_ids: Mapping[int, int]
) -> Iterator[tuple[Any, ...]]:
    """For each unusable field and each reason to reject a row, the parameters of `_ADD_REJECTIONS` after the import id.

    Skipped rows are left out.
    """
    for (_, event), kind in zip(incoming, classes, strict=True):
        accepted = isinstance(event, LegacyCustomerRead)
        reasons = event.unusable if isinstance(event, LegacyCustomerRead) else event.reasons
        if reasons and kind != "skipped":
            start = event.chunk, event.attempt, event.legacy_id, "field" if accepted else "row"
            for field, reason in reasons.items():
                yield (*start, field, reason, customer_ids.get(event.legacy_id))


_ADD_READING = """
INSERT INTO import_readings (import_id, chunk, attempt, read_at, legacy_ids) VALUES ($1, $2, $3, $4, $5)
"""

_ADD_REJECTIONS = """
INSERT INTO import_rejections (import_id, chunk, attempt, legacy_id, kind, field, reason, customer_id)
SELECT $1, n.* FROM unnest($2::int[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[]) AS n
"""

_ADD_COUNTS = """
INSERT INTO import_counts AS n (
    import_id, chunk, attempt, partition, created, updated, unchanged, skipped, rejected
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (import_id, chunk, attempt, partition) DO UPDATE SET
    created = n.created + excluded.created, updated = n.updated + excluded.updated,
    unchanged = n.unchanged + excluded.unchanged, skipped = n.skipped + excluded.skipped,
    rejected = n.rejected + excluded.rejected
"""
