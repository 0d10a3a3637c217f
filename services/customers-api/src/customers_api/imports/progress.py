"""Applies what the importers report about an import: plans, published key ranges and failures.

A handler is named after its event and works in the transaction of `apply`. It locks the import's row before anything
that depends on the import's status. It returns the reason if it ignored the event, and the import if the event ended
it. Otherwise it returns None.
"""

from collections.abc import Awaitable, Collection
from typing import TypeAlias

import asyncpg
import msgspec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import (
    AttemptFailed,
    Failed,
    Planned,
    PlanStarted,
    RangePublished,
)
from vapteke_shared.messaging import dead_letters, stored_offsets
from vapteke_shared.messaging.partitions import Cluster, Reached
from vapteke_shared.postgres.retries import retry_conflicts
from vapteke_shared.process import logs

from customers_api.imports import admissions, plan_warnings, stored_ranges, tasks
from customers_api.imports.admissions import Range
from customers_api.imports.decoding import Decoded
from customers_api.imports.outcomes import Outcome
from customers_api.imports.writes import publish_state
from customers_api.outbox import messages

Handled: TypeAlias = str | asyncpg.Record | None

log = logs.get(__name__)


@retry_conflicts
async def apply(
    connection: asyncpg.Connection,
    decoded: Decoded[Event],
    cluster: Cluster,
    reached: Reached,
    in_flight: int,
) -> Outcome:
    """Apply the event of a record once, and store the record's offset, in one transaction.

    A record without an event becomes a dead letter; a record that was applied before changes nothing. `in_flight` is
    how many ranges the importers may hold at a time. Returns after the commit; the caller must then report the outcome.

    Raises DataError or IntegrityConstraintViolationError if the database rejects the data: call it again with
    `decoding.rejected_by_database`. Also raises what `stored_offsets.transaction` raises, and a conflict that is left
    after the retries.
    """
    record, event, fault = decoded
    async with stored_offsets.transaction(connection, [record], cluster, reached) as is_new:
        if not is_new(record):
            return Outcome()
        if event is None:
            letter = dead_letters.from_record(record, fault)
            await messages.add(connection, letter.topic, messages.of_letters([letter]))
            return Outcome(letters=[letter])
        handled = await _handle(connection, event, in_flight)
    return Outcome(ignored=[handled]) if isinstance(handled, str) else Outcome(ended=handled)


def _handle(connection: asyncpg.Connection, event: Event, in_flight: int) -> Awaitable[Handled]:
    match event:
        case PlanStarted():
            return plan_started(connection, event)
        case Planned():
            return planned(connection, event, in_flight)
        case RangePublished():
            return range_published(connection, event, in_flight)
        case AttemptFailed():
            return attempt_failed(connection, event)
        case Failed():
            return failed(connection, event)
        case _:
            raise AssertionError(f"{type(event).__name__} is not an event of progress")


async def plan_started(connection: asyncpg.Connection, event: PlanStarted) -> Handled:
    return _ignored_unless(await connection.fetchval(_PLAN_STARTED, event.import_id, event.number))


async def planned(connection: asyncpg.Connection, event: Planned, in_flight: int) -> Handled:
    """Store the first plan that arrives, with its warnings, and request the first ranges.

    Invalid plans and later plans are ignored.
    """
    if fault := admissions.fault_of_plan(event):
        return _invalid(event, fault)
    ahead = plan_warnings.seconds_ahead(event)
    warnings = plan_warnings.of_plan(event, await plan_warnings.find_last(connection))
    last_bound = max(event.upper_bounds, default=None)
    facts = [event.row_count, warnings, ahead, event.number, last_bound, _json(event.basis), _json(event.columns)]
    stored = await connection.fetchrow(_PLANNED, event.import_id, *facts, event.unread, event.full_because)
    if stored is None:
        return _ignored_unless(stored)
    await publish_state(connection, stored)
    await _add_ranges(connection, event, await stored_ranges.unread_of(connection, stored["kind"], event))
    await tasks.request_ranges(connection, event.import_id, in_flight)
    return None


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


async def _add_ranges(connection: asyncpg.Connection, event: Planned, unread: Collection[int]) -> None:
    bounds = enumerate(zip([None, *event.upper_bounds], event.upper_bounds, strict=False))
    ranges = [(chunk, after_id, upto_id) for chunk, (after_id, upto_id) in bounds if upto_id not in unread]
    columns = [[each[place] for each in ranges] for place in range(3)]
    await connection.execute(_ADD_RANGES, event.import_id, *columns)


async def range_published(connection: asyncpg.Connection, event: RangePublished, in_flight: int) -> Handled:
    """Store the first attempt that published the range, which wins, and request the next range.

    Invalid events are ignored, and so are events about a range that is not in flight: later attempts, or a range that
    has failed.
    """
    await connection.execute(_LOCK, event.import_id)
    row = await connection.fetchrow(_RANGE, event.import_id, event.chunk)
    if row is not None and (fault := admissions.fault_of_publication(event, Range(*row))):
        return _invalid(event, fault)
    offsets = _json(event.last_offsets)
    fingerprint = event.fingerprint, _json(event.basis), event.valid_until
    stored = await connection.fetchval(
        _PUBLISHED, event.import_id, event.chunk, event.attempt, event.event_count, offsets, event.number, *fingerprint
    )
    if stored is not None:
        await tasks.request_ranges(connection, event.import_id, in_flight)
    return _ignored_unless(stored)


async def attempt_failed(connection: asyncpg.Connection, event: AttemptFailed) -> Handled:
    """Store a failure that the importer will retry.

    The job shows it until the plan is stored, or until the range is published or has failed.
    """
    facts = [event.import_id, event.attempt, event.attempts, event.error, event.retry_seconds, event.number]
    if event.chunk is None:
        return _ignored_unless(await connection.fetchval(_PLAN_ATTEMPT_FAILED, *facts))
    return _ignored_unless(await connection.fetchval(_RANGE_ATTEMPT_FAILED, *facts, event.chunk))


async def failed(connection: asyncpg.Connection, event: Failed) -> Handled:
    """Fail the import. A failed plan ends it at once.

    For a failed range, the error is stored unless there is one already. Then no more ranges are requested, and the
    sweeper ends the import after the other ranges in flight.
    """
    if event.chunk is None:
        ended = await connection.fetchrow(_PLAN_FAILED, event.import_id, event.error, event.number)
        if ended is not None:
            await publish_state(connection, ended)
        return ended or _ignored_unless(ended)
    failing = await connection.fetchval(_RECORD_ERROR, event.import_id, event.error, event.chunk, event.number)
    if failing is not None:
        await connection.execute(_RANGE_FAILED, event.import_id, event.chunk)
    return _ignored_unless(failing)


def _ignored_unless(changed: object) -> str | None:
    return "not_current" if changed is None else None


def _invalid(event: Planned | RangePublished, fault: str) -> str:
    log.warning("invalid event ignored", import_id=str(event.import_id), type=event.type, fault=fault)
    return "senseless"


_LOCK = "SELECT FROM imports WHERE id = $1 FOR SHARE"

_PLAN_STARTED = """
UPDATE imports SET status = 'planning', started_at = coalesce(started_at, now()) WHERE id = $1 AND status = 'requested'
    AND ($2::bigint IS NULL OR plan_number = $2) RETURNING id
"""

_EARLIER_IMPORTER = "an importer of an earlier release has made the plan"
_ALL_ARE_READ = "kind = 'changes' AND $9::int[] IS NULL"

_PLANNED = f"""
UPDATE imports SET
    status = 'running', planned_rows = $2, warnings = $3, source_ahead_seconds = $4,
    last_bound = $6, basis = $7, columns = $8, kind = CASE WHEN {_ALL_ARE_READ} THEN 'full' ELSE kind END,
    full_because = coalesce(full_because, $10, CASE WHEN {_ALL_ARE_READ} THEN '{_EARLIER_IMPORTER}' END),
    attempt_failed = NULL, started_at = coalesce(started_at, now())
WHERE id = $1 AND status IN ('requested', 'planning') AND ($5::bigint IS NULL OR plan_number = $5) RETURNING *
"""

_ADD_RANGES = """
INSERT INTO import_chunks (import_id, chunk, after_id, upto_id, status)
SELECT $1, chunk, after_id, upto_id, 'planned'
FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS c (chunk, after_id, upto_id)
"""

_RANGE = "SELECT number, after_id, upto_id FROM import_chunks WHERE import_id = $1 AND chunk = $2"

_PUBLISHED = """
UPDATE import_chunks SET
    status = 'published', attempt = $3, event_count = $4, last_offsets = $5, moved_at = now(),
    fingerprint = CASE WHEN (SELECT basis FROM imports WHERE id = $1) = $8::jsonb THEN $7 END,
    valid_until = $9
WHERE import_id = $1 AND chunk = $2 AND status = 'requested' AND ($6::bigint IS NULL OR number = $6)
    AND EXISTS (SELECT FROM imports WHERE id = $1 AND status IN ('running', 'reading'))
RETURNING chunk
"""

_FACTS = """jsonb_build_object(
    'attempt', $2::int, 'attempts', $3::int, 'error', $4::text, 'retry_at', now() + $5 * interval '1 second'
)"""

_PLAN_ATTEMPT_FAILED = f"""
UPDATE imports SET attempt_failed = {_FACTS}
WHERE id = $1 AND status IN ('requested', 'planning') AND ($6::bigint IS NULL OR plan_number = $6) RETURNING id
"""

_RANGE_ATTEMPT_FAILED = f"""
UPDATE import_chunks SET attempt_failed = {_FACTS}
WHERE import_id = $1 AND chunk = $7 AND status = 'requested' AND ($6::bigint IS NULL OR number = $6) RETURNING chunk
"""

_RANGE_FAILED = """
UPDATE import_chunks SET status = 'failed' WHERE import_id = $1 AND chunk = $2
"""

_RECORD_ERROR = """
UPDATE imports i SET error = coalesce(error, $2)
FROM import_chunks c
WHERE i.id = $1 AND i.status IN ('running', 'reading')
    AND c.import_id = i.id AND c.chunk = $3 AND c.status = 'requested' AND ($4::bigint IS NULL OR c.number = $4)
RETURNING i.id
"""

_PLAN_FAILED = """
UPDATE imports SET status = 'failed', error = $2, started_at = coalesce(started_at, now()), finished_at = now()
WHERE id = $1 AND status IN ('requested', 'planning') AND ($3::bigint IS NULL OR plan_number = $3) RETURNING *
"""
