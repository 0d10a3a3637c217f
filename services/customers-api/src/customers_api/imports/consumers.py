"""The Kafka doors: legacy customers are applied in batches, the importers' progress one by one."""

import time
from collections.abc import Iterable, MutableMapping, Sequence

import asyncpg
from aiokafka import ConsumerRecord
from prometheus_client import Histogram
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import PROGRESS, AttemptFailed, Failed, Planned, PlanStarted, RangePublished
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected
from vapteke_shared.messaging import dead_letters, stored_offsets
from vapteke_shared.messaging.batch_consumer import BatchConsumer
from vapteke_shared.messaging.dead_letters import DeadLetter
from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.postgres.retries import retry_conflicts
from vapteke_shared.process import logs
from vapteke_shared.process.health import Health

from customers_api.imports import admissions, legacy_customers, writes
from customers_api.imports.admissions import Admission, ignored
from customers_api.imports.legacy_customers import LegacyEvent
from customers_api.imports.writes import Outcome
from customers_api.outbox import messages
from customers_api.settings import WorkSettings

RESET = "customers-api offsets reset"
_BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

Reached = MutableMapping[Partition, int]
Decoded = tuple[ConsumerRecord, LegacyEvent | None]

log = logs.get(__name__)
batch_rows = Histogram("vapteke_batch_rows", "Events in a batch", buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10000))
batch_seconds = Histogram("vapteke_batch_seconds", "Time to apply a batch")


class ImportConsumers:
    """The consumers of `customers-api work`: one for legacy customers, one for the imports' progress."""

    def __init__(self, settings: WorkSettings, pool: asyncpg.Pool, health: Health) -> None:
        self._pool, self._in_flight = pool, settings.import_ranges_in_flight
        self.legacy = BatchConsumer(
            settings,
            pool,
            health,
            topics.LEGACY_CUSTOMERS.name,
            "customers-api.legacy-customers",
            self.apply_legacy,
            reset_command=RESET,
            max_records=settings.import_batch_rows,
            fetch_min_bytes=128 * 1024,
        )
        self.progress = BatchConsumer(
            settings,
            pool,
            health,
            topics.IMPORT_PROGRESS.name,
            "customers-api.import-progress",
            self.apply_progress,
            reset_command=RESET,
            max_records=100,
        )

    async def apply_legacy(self, records: Sequence[ConsumerRecord], cluster: Cluster, reached: Reached) -> None:
        """Apply a batch, each record once. Raises on outages only: what is wrong with the data is resolved here."""
        started = time.monotonic()
        decoded = [(record, _decode_legacy(record)) for record in records]
        for part in _cut_before_second(decoded):
            await self._apply(part, cluster, reached)
        batch_rows.observe(len(records))
        batch_seconds.observe(time.monotonic() - started)

    async def _apply(self, decoded: Sequence[Decoded], cluster: Cluster, reached: Reached) -> None:
        """Halve what the database refuses, down to the one record, which is rejected."""
        try:
            await self._apply_once(decoded, cluster, reached)
        except _BAD_DATA as error:
            log.warning("the database refuses a batch", records=len(decoded), sqlstate=error.sqlstate)
            if len(decoded) == 1:
                await self._reject(decoded[0], f"refused_{error.sqlstate.lower()}", cluster, reached)
                return
            middle = len(decoded) // 2
            await self._apply(decoded[:middle], cluster, reached)
            await self._apply(decoded[middle:], cluster, reached)

    async def _reject(self, decoded: Decoded, reason: str, cluster: Cluster, reached: Reached) -> None:
        record, event = decoded
        assert event is not None, "a record without an event touches no data"
        if "row" in getattr(event, "reasons", {}):  # even its rejection is refused
            await self._apply_once([(record, None)], cluster, reached)
            return
        rejected = LegacyCustomerRejected(
            import_id=event.import_id,
            chunk=event.chunk,
            attempt=event.attempt,
            number=event.number,
            legacy_id=event.legacy_id,
            read_at=event.read_at,
            reasons={"row": reason},
        )
        await self._apply([(record, rejected)], cluster, reached)

    @retry_conflicts
    async def _apply_once(self, decoded: Sequence[Decoded], cluster: Cluster, reached: Reached) -> None:
        records = [record for record, _ in decoded]
        async with self._pool.acquire() as connection:
            admission = await admissions.read(connection, [event for _, event in decoded if event])
            admitted = [event for _, event in decoded if event and admission.refusal(event) is None]
            if admitted:
                await legacy_customers.add_missing_names(connection, admitted)
            async with stored_offsets.transaction(connection, records, cluster, reached) as is_new:
                fresh = [(record, event) for record, event in decoded if is_new(record)]
                letters = await _bury(connection, [record for record, event in fresh if event is None])
                refusals = await _apply_fresh(
                    connection, admission, [(r.partition, event) for r, event in fresh if event]
                )
        _tell(letters, refusals)

    async def apply_progress(self, records: Sequence[ConsumerRecord], cluster: Cluster, reached: Reached) -> None:
        """One transaction per event: there are few, and a bad one must not hold up the others."""
        for record in records:
            try:
                await self._apply_event(record, _decode_progress(record), cluster, reached)
            except _BAD_DATA as error:
                log.warning("the database refuses a progress event", sqlstate=error.sqlstate)
                await self._apply_event(record, None, cluster, reached)

    async def _apply_event(
        self, record: ConsumerRecord, event: Event | None, cluster: Cluster, reached: Reached
    ) -> None:
        letters: list[DeadLetter] = []
        outcome: Outcome = None
        async with (
            self._pool.acquire() as connection,
            stored_offsets.transaction(connection, [record], cluster, reached) as is_new,
        ):
            if not is_new(record):
                return
            if event is None:
                letters = await _bury(connection, [record])
            else:
                outcome = await self._progress(connection, event)
        _tell(letters, [outcome] if isinstance(outcome, str) else [])
        if isinstance(outcome, asyncpg.Record):
            writes.tell_verdict(outcome)

    async def _progress(self, connection: asyncpg.Connection, event: Event) -> Outcome:
        match event:
            case PlanStarted():
                return await writes.plan_started(connection, event)
            case Planned():
                return await writes.planned(connection, event, self._in_flight)
            case RangePublished():
                return await writes.range_published(connection, event, self._in_flight)
            case AttemptFailed():
                return await writes.attempt_failed(connection, event)
            case Failed():
                return await writes.failed(connection, event)
            case _:
                raise AssertionError("these are all")


async def _apply_fresh(
    connection: asyncpg.Connection, admission: Admission, incoming: Sequence[tuple[int, LegacyEvent]]
) -> list[str]:
    """Why events change nothing, as a word for each. An import that has ended since the admission was read takes no
    more of them."""
    is_alive = bool(await writes.lock_alive(connection, [admission.import_id] if admission.import_id else []))
    mine, refusals = [], []
    for partition, event in incoming:
        refusal = admission.refusal(event) if is_alive else "import_not_alive"
        if refusal is None:
            event.number = admission.ranges[event.chunk].number
            mine.append((partition, event))
        else:
            refusals.append(refusal)
    if mine:
        await legacy_customers.apply(connection, mine[0][1].import_id, mine)
    return refusals


async def _bury(connection: asyncpg.Connection, records: Sequence[ConsumerRecord]) -> list[DeadLetter]:
    """Write what cannot be understood to its topic's dead topic, by way of the outbox: once, with the stored offset."""
    letters = [dead_letters.from_record(record, _reason(record)) for record in records]
    for letter in letters:
        await messages.add(connection, letter.topic, [messages.Message(letter.key, letter.headers, letter.value)])
    return letters


def _tell(letters: Iterable[DeadLetter], refusals: Iterable[str]) -> None:
    """Once all is committed: what is rolled back is tried again, and would be counted twice."""
    for letter in letters:
        dead_letters.report(letter)
    for refusal in refusals:
        ignored.labels(refusal).inc()


def _decode_legacy(record: ConsumerRecord) -> LegacyEvent | None:
    try:
        event = codec.decode(record.value, record.headers)
    except EventInvalid:
        return None
    return event if isinstance(event, LegacyCustomerRead | LegacyCustomerRejected) else None


def _decode_progress(record: ConsumerRecord) -> Event | None:
    try:
        event = codec.decode(record.value, record.headers)
    except EventInvalid:
        return None
    return event if isinstance(event, PROGRESS) else None


def _reason(record: ConsumerRecord) -> str:
    try:
        event = codec.decode(record.value, record.headers)
    except EventInvalid as error:
        return str(error)
    return f"not for this topic, or refused by the database: {event.type}"


def _cut_before_second(decoded: Sequence[Decoded]) -> list[Sequence[Decoded]]:
    """Parts in which no legacy row has two events."""
    parts, start, seen = [], 0, set[int]()
    for place, (_, event) in enumerate(decoded):
        if event is None:
            continue
        if event.legacy_id in seen:
            parts.append(decoded[start:place])
            start, seen = place, set()
        seen.add(event.legacy_id)
    return [*parts, decoded[start:]]
