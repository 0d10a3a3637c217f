"""Divides batches of legacy customers: where a row repeats, where another import begins, and around bad data."""

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRejected

from customers_api.imports import decoding
from customers_api.imports.apply import Batch
from customers_api.imports.decoding import Decoded, LegacyEvent


def divide(batch: Batch) -> list[Batch]:
    """Divide a batch, in its order, into parts that are of one import each, and in which no legacy row has two events.

    An import of single rows runs beside another import, so their events come in one batch.
    """
    parts, start, seen, import_id = [], 0, set[int](), None
    for index, (_, event, _) in enumerate(batch):
        if event is None:
            continue
        if event.legacy_id in seen or event.import_id.int != import_id:  # faster than comparing the UUIDs
            if seen:
                parts.append(batch[start:index])
                start, seen = index, set()
            import_id = event.import_id.int
        seen.add(event.legacy_id)
    return [*parts, batch[start:]]


def without_bad_data(batch: Batch, error: asyncpg.PostgresError) -> list[Batch]:
    """The batches to apply, in order, instead of one that the database rejects with `error`: its two halves.

    A batch of a single record is replaced by one batch: the event becomes a rejection of its row, with the reason
    `refused_<sqlstate>`; a record that is such a rejection already becomes a dead letter. If it is a dead letter
    already, `error` is raised: the database cannot reject its data, so the error is a bug.
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
