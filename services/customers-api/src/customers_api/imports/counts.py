"""Counts the rows of a batch by class, and keeps which rows were read and why rows and values were rejected."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRejected

from customers_api.imports import finite_dates
from customers_api.imports.state import CLASSES, Class, Incoming


async def add(
    connection: asyncpg.Connection,
    import_id: UUID,
    incoming: Sequence[Incoming],
    classes: Sequence[Class],
    customer_ids: Mapping[int, int],
) -> None:
    """Add the rows to the import, in the caller's transaction. `customer_ids` has their customers by legacy id."""
    await connection.executemany(_ADD_READING, [(import_id, *reading) for reading in _readings(incoming)])
    rejections = list(_rejections(incoming, classes, customer_ids))
    if rejections:
        await connection.executemany(_ADD_REJECTION, [(import_id, *rejection) for rejection in rejections])
    await connection.executemany(_ADD_COUNTS, [(import_id, *counted) for counted in _counted(incoming, classes)])


def _readings(incoming: Sequence[Incoming]) -> list[tuple[Any, ...]]:
    """Chunk, attempt, latest `read_at` and the legacy ids, for each attempt."""
    read = defaultdict(list)
    latest = dict[tuple[int, UUID], Any]()
    for _, event in incoming:
        attempt = (event.chunk, event.attempt)
        read[attempt].append(event.legacy_id)
        if attempt not in latest or event.read_at > latest[attempt]:
            finite_dates.check_moment(event.read_at)
            latest[attempt] = event.read_at
    return [(*attempt, latest[attempt], sorted(legacy_ids)) for attempt, legacy_ids in sorted(read.items())]


def _rejections(
    incoming: Sequence[Incoming], classes: Sequence[Class], customer_ids: Mapping[int, int]
) -> Iterator[tuple[Any, ...]]:
    """The unusable fields and rows. Of skipped rows nothing is listed."""
    for (_, event), kind in zip(incoming, classes, strict=True):
        rejected = isinstance(event, LegacyCustomerRejected)
        reasons = event.reasons if isinstance(event, LegacyCustomerRejected) else event.unusable
        if reasons and kind != "skipped":
            start = event.chunk, event.attempt, event.legacy_id, "row" if rejected else "field"
            for field, reason in reasons.items():
                yield (*start, field, reason, customer_ids.get(event.legacy_id))


def _counted(incoming: Sequence[Incoming], classes: Sequence[Class]) -> list[tuple[Any, ...]]:
    """Chunk, attempt, partition and the number of rows of each class, in the order of the table's key."""
    counts: dict[tuple[int, UUID, int], Counter[Class]] = defaultdict(Counter)
    for (partition, event), kind in zip(incoming, classes, strict=True):
        counts[event.chunk, event.attempt, partition][kind] += 1
    return [(*key, *(counted[name] for name in CLASSES)) for key, counted in sorted(counts.items())]


_ADD_READING = """
INSERT INTO import_readings (import_id, chunk, attempt, read_at, legacy_ids) VALUES ($1, $2, $3, $4, $5)
"""

_ADD_REJECTION = """
INSERT INTO import_rejections (import_id, chunk, attempt, legacy_id, kind, field, reason, customer_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
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
