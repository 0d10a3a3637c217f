"""Applies a batch of legacy customers in one transaction: customers, mirror rows, events, counts, stored offsets."""

import asyncio
from collections.abc import Sequence

import asyncpg
from vapteke_shared.messaging import dead_letters, stored_offsets
from vapteke_shared.messaging.partitions import Cluster, Reached
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.imports import (
    admissions,
    batch_state,
    batch_writes,
    counts,
    differences,
    finite_dates,
    gone_rows,
    row_outcomes,
    rules,
    writes,
)
from customers_api.imports.admissions import Admission
from customers_api.imports.batch_writes import Ids
from customers_api.imports.decoding import Decoded, LegacyEvent
from customers_api.imports.outcomes import Outcome
from customers_api.imports.state import Incoming
from customers_api.outbox import messages

Batch = Sequence[Decoded[LegacyEvent]]


@retry_conflicts
async def apply(
    connection: asyncpg.Connection,
    names_connection: asyncpg.Connection,
    batch: Batch,
    cluster: Cluster,
    reached: Reached,
) -> Outcome:
    """Apply each record of a batch once, and store the offsets, in one transaction on `connection`.

    Returns after the commit; the caller must then report the outcome. The events of the batch must be of one import,
    and no two of one legacy row. Records that were applied before are left out, and undecodable ones become dead
    letters. An import of kind `compare` writes only differences and counts.

    `names_connection` is another connection, on which missing phones and first names are inserted and committed: if
    this transaction inserted them, API calls that use the same ones would wait until its end. Customers of rows that
    have returned to vAptekeSync are restored there, too.

    Raises DataError or IntegrityConstraintViolationError if the database rejects the data: nothing is applied, and the
    caller must divide the batch (`legacy_batches.without_bad_data`). Also raises what `stored_offsets.transaction`
    raises, and ChangedMeanwhile or another conflict that is left after the retries.
    """
    admission = await admissions.read(connection, [event for _, event, _ in batch if event])
    records = [record for record, _, _ in batch]
    async with stored_offsets.transaction(connection, records, cluster, reached) as is_new:
        fresh = [decoded for decoded in batch if is_new(decoded.record)]
        letters = [dead_letters.from_record(record, fault) for record, event, fault in fresh if event is None]
        if letters:
            await messages.add(connection, letters[0].topic, messages.of_letters(letters))
        if admission.import_id and not await writes.lock_unfinished(connection, admission.import_id):
            admission = admissions.NONE
        incoming, ignored = _admit(admission, fresh)
        if not incoming:
            return Outcome(letters, ignored)

        finite_dates.check_readings(incoming)
        context = await batch_state.load_context(connection, incoming)
        is_of_rows, is_compare = admission.kind == "rows", admission.kind == "compare"
        asked = await row_outcomes.asked(connection, incoming)
        settled = {} if is_of_rows else await batch_state.load_settled(connection, context, incoming)
        unchanged, others = rules.split_unchanged(incoming, settled)
        mirrors = await batch_state.load_mirrors(connection, others) if others else {}
        if not is_compare and await gone_rows.bring_back(names_connection, mirrors):
            mirrors = await batch_state.load_mirrors(connection, others)
        comparison = rules.compare(context, others, mirrors)
        customer_ids = {legacy_id: mirror.customer_id for legacy_id, mirror in mirrors.items()}
        classes = comparison.classes
        if is_compare:
            await differences.add(connection, context.import_id, others, comparison, mirrors)
        elif comparison.rows:
            finite_dates.check_rows(comparison.rows)
            await batch_state.add_missing_names(names_connection, comparison.rows)
            locked = await batch_state.lock_and_load(connection, comparison.rows)
            decision = rules.decide(context, comparison, locked)
            ids = Ids(locked.phone_ids, await batch_state.firstname_ids(connection, decision.rows))
            building = asyncio.create_task(batch_writes.events(decision))  # while Postgres writes the customers
            await batch_writes.write_customers(connection, decision, ids)
            await batch_writes.write_mirror(connection, context.import_id, decision, ids, remembers=not is_of_rows)
            await messages.write(connection, await building)
            customer_ids |= {row.event.legacy_id: row.customer_id for row in decision.rows}
            classes = decision.classes
        if is_of_rows:
            await row_outcomes.add(connection, context.import_id, others, classes, comparison, mirrors)
        if not is_compare:
            await row_outcomes.number(connection, asked)
        await counts.add(connection, context.import_id, unchanged, others, classes, customer_ids)
    return Outcome(letters, ignored)


def _admit(admission: Admission, fresh: Batch) -> tuple[list[Incoming], list[str]]:
    """The events of `fresh` that count, and a reason for each event that is ignored. Undecoded records are in neither.

    Sets `number` of each event that counts to its range's dispatch number.
    """
    admitted, ignored = [], []
    for record, event, _ in fresh:
        if event is None:
            continue
        if (reason := admission.reason_to_ignore(event)) is not None:
            ignored.append(reason)
            continue
        event.number = admission.ranges[event.chunk].number
        admitted.append(Incoming(record.partition, event))
    return admitted, ignored
