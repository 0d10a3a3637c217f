"""Divides batches of legacy customers: between transactions, at repeats, and until a rejected record is alone."""

import heapq
from collections import Counter
from collections.abc import Sequence

import asyncpg
from aiokafka import ConsumerRecord
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRejected

from customers_api.imports import decoding
from customers_api.imports.apply import Batch
from customers_api.imports.decoding import Decoded, LegacyEvent


def shares(records: Sequence[ConsumerRecord], count: int) -> list[list[ConsumerRecord]]:
    """The records in up to `count` shares of about the same size, each with whole partitions, in their order."""
    sizes = Counter(record.partition for record in records)
    lightest = [(0, number) for number in range(count)]
    share_of = {}
    for partition, size in sizes.most_common():
        load, number = heapq.heappop(lightest)
        heapq.heappush(lightest, (load + size, number))
        share_of[partition] = number
    parts: list[list[ConsumerRecord]] = [[] for _ in range(count)]
    for record in records:
        parts[share_of[record.partition]].append(record)
    return [part for part in parts if part]


def split_at_repeats(batch: Batch) -> list[Batch]:
    """Parts in which no legacy row has two events."""
    parts, start, seen = [], 0, set[int]()
    for index, (_, event, _) in enumerate(batch):
        if event is None:
            continue
        if event.legacy_id in seen:
            parts.append(batch[start:index])
            start, seen = index, set()
        seen.add(event.legacy_id)
    return [*parts, batch[start:]]


def without_bad_data(batch: Batch, error: asyncpg.PostgresError) -> list[Batch]:
    """The batches to apply instead of one that the database rejects: its two halves.

    A single record becomes the rejection of its row, and a rejection becomes a dead letter. The database cannot reject
    the data of a dead letter, so an error there is a bug and is raised.
    """
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    [(record, event, _)] = batch
    if event is None:
        raise error
    if isinstance(event, LegacyCustomerRejected) and "row" in event.reasons:
        return [[decoding.rejected_by_database(record)]]
    return [[Decoded(record, _rejected(event, f"refused_{error.sqlstate.lower()}"))]]


def _rejected(event: LegacyEvent, reason: str) -> LegacyCustomerRejected:
    return LegacyCustomerRejected(
        import_id=event.import_id,
        chunk=event.chunk,
        attempt=event.attempt,
        number=event.number,
        legacy_id=event.legacy_id,
        read_at=event.read_at,
        reasons={"row": reason},
    )
