"""Batches of legacy customers: applied in one transaction, and split when the database rejects one."""

from collections.abc import Sequence

import asyncpg
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRejected
from vapteke_shared.messaging import dead_letters, stored_offsets
from vapteke_shared.messaging.partitions import Cluster, Reached
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.imports import admissions, decoding, legacy_customers, writes
from customers_api.imports.admissions import Admission
from customers_api.imports.decoding import Decoded, LegacyEvent
from customers_api.imports.outcomes import Outcome
from customers_api.outbox import messages

Batch = Sequence[Decoded[LegacyEvent]]


@retry_conflicts
async def apply(connection: asyncpg.Connection, batch: Batch, cluster: Cluster, reached: Reached) -> Outcome:
    """Apply each record once, with its stored offset. The batch must not contain two events of one legacy row."""
    admission = await admissions.read(connection, [event for _, event, _ in batch if event])
    if admitted := [event for _, event, _ in batch if event and admission.reason_to_ignore(event) is None]:
        await legacy_customers.add_missing_names(connection, admitted)
    records = [record for record, _, _ in batch]
    async with stored_offsets.transaction(connection, records, cluster, reached) as is_new:
        fresh = [decoded for decoded in batch if is_new(decoded.record)]
        letters = [dead_letters.from_record(record, fault) for record, event, fault in fresh if event is None]
        if letters:
            await messages.add(connection, letters[0].topic, messages.of_letters(letters))
        if admission.import_id and not await writes.lock_unfinished(connection, admission.import_id):
            admission = admissions.NONE
        counted, ignored = _admit(admission, fresh)
        if counted:
            await legacy_customers.apply(connection, counted[0][1].import_id, counted)
    return Outcome(letters, ignored)


def _admit(admission: Admission, fresh: Batch) -> tuple[list[legacy_customers.Incoming], list[str]]:
    """The admitted events, each with the partition of its record, and why the others are ignored."""
    admitted, ignored = [], []
    for record, event, _ in fresh:
        if event is None:
            continue
        if (reason := admission.reason_to_ignore(event)) is not None:
            ignored.append(reason)
            continue
        event.number = admission.ranges[event.chunk].number
        admitted.append((record.partition, event))
    return admitted, ignored


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
