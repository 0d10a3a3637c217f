"""Plans an import, and publishes the rows of a key range (docs/design.md, "The import, step by step")."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from prometheus_client import Counter, Histogram
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import (
    AttemptFailed,
    Failed,
    ImportEvent,
    Planned,
    PlanRequested,
    PlanStarted,
    RangePublished,
    RangeRequested,
    RowsRequested,
)
from vapteke_shared.messaging.dead_letters import DeadLetter
from vapteke_shared.process import logs
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, pause, shutdown_deadline

from legacy_importer import changes_plan, legacy, table_check, translate
from legacy_importer.connection import Connection
from legacy_importer.fingerprints import Method, RangeSum
from legacy_importer.legacy import Pages, Plan
from legacy_importer.legacy_errors import LegacyError, LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.publisher import Publisher, PublishFailed
from legacy_importer.settings import WorkSettings
from legacy_importer.translate import Context

_LAST_SECONDS = 3

T = TypeVar("T")
Reading = RangeRequested | RowsRequested
Task = PlanRequested | Reading

log = logs.get(__name__)
rows_published = Counter("legacy_importer_rows", "Rows published, including those of failed attempts")
range_seconds = Histogram("legacy_importer_range_seconds", "Time to read and publish one key range")
attempts_failed = Counter("legacy_importer_failed_attempts", "Attempts to read vAptekeSync that failed")


class ShuttingDown(Exception):
    """The process shuts down before the current task is done.

    The caller must not commit the offset of the task: then Kafka gives the task to an importer again.
    """


class Importer:
    """Does import tasks. Call its methods one at a time, never concurrently.

    When `do` or `reject` returns, Kafka has acknowledged the event that ends the task, so the caller may commit the
    task's offset. When either raises an error, the offset must stay uncommitted.
    """

    def __init__(self, settings: WorkSettings, publisher: Publisher, stopping: asyncio.Event) -> None:
        self._settings, self._publisher, self._stopping = settings, publisher, stopping
        self._zone = ZoneInfo(settings.vaptekesync_timezone)
        self._genders = translate.spellings({"M": settings.vaptekesync_genders.M, "F": settings.vaptekesync_genders.F})
        self._failed: tuple[UUID, str] | None = None

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def do(self, task: Event) -> None:
        """Do the task and report its result, or why it failed, on the progress topic. Safe to repeat.

        A LegacyError is reported, not raised. When this Importer has reported a failed range, it reports the other
        ranges of the same import as failed too, without an attempt. While Kafka is down, retries without limit. Raises
        ShuttingDown if the task is not done `_LAST_SECONDS` after the shutdown begins, or earlier in place of a retry.
        """
        try:
            async with shutdown_deadline(self._stopping, _LAST_SECONDS):
                await self._do(task)
        except ShutdownDeadlineExceeded:
            raise ShuttingDown from None

    async def reject(self, task: Task, why: str) -> None:
        """Log and report, without an attempt, that the task has failed because of `why`, a text for operators.

        customers-api then fails the whole import, unless the import has already ended. Retries while Kafka is down.
        Raises ShuttingDown in place of a retry when the process shuts down.
        """
        log.error("a task was rejected", import_id=str(task.import_id), error=why)
        await self._report(_failed(task, None if isinstance(task, PlanRequested) else task.chunk, why))

    async def send_to_dead_letters(self, letter: DeadLetter) -> None:
        """Send a dead letter, and return when Kafka has acknowledged it. Does not count or log the dead letter.

        Retries while Kafka is down. Raises ShuttingDown in place of a retry when the process shuts down.
        """
        await self._until_kafka_accepts(lambda: self._publisher.send_letter(letter))

    async def _do(self, task: Event) -> None:
        match task:
            case PlanRequested():
                await self._report(PlanStarted(import_id=task.import_id, number=task.number))
                await self._finish(task, None, lambda: self._plan(task))
            case RangeRequested() | RowsRequested() if self._failed and self._failed[0] == task.import_id:
                # one range has used up its attempts, so the import has failed: the other ranges need no attempt
                await self._report(_failed(task, task.chunk, self._failed[1]))
            case RangeRequested() | RowsRequested():
                await self._finish(task, task.chunk, lambda: self._read(task))

    async def _finish(self, task: Task, chunk: int | None, work: Callable[[], Awaitable[ImportEvent]]) -> None:
        try:
            result = await self._with_attempts(task, chunk, work)
        except LegacyError as error:
            cause = str(error)[: limits.ERROR_CHARACTERS]
            self._failed = (task.import_id, cause)
            log.error("a task failed", import_id=str(task.import_id), chunk=chunk, error=cause)
            result = _failed(task, chunk, cause)
        await self._report(result)

    async def _with_attempts(self, task: Task, chunk: int | None, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `work`, with up to MSSQL_RETRIES_COUNT retries while vAptekeSync is unavailable.

        Reports each failed attempt that will be retried, for the range `chunk` or, with None, for the plan. The caller
        reports the final failure: LegacyError is raised after the last attempt, or at once for a permanent error.
        Raises ShuttingDown in place of a retry when the process shuts down.
        """
        attempts = 1 + self._settings.mssql_retries_count
        for attempt in range(1, attempts + 1):
            try:
                return await self._until_kafka_accepts(work)
            except LegacyUnavailable as error:
                attempts_failed.inc()
                log.warning("an attempt failed", attempt=attempt, of=attempts, error=str(error))
                if attempt == attempts:
                    raise LegacyError(f"{error}; attempts: {attempts}") from None
                await self._report(_attempt_failed(task, chunk, attempt, self._settings, error))
            await self._pause(self._settings.mssql_retries_sleep)
        raise AssertionError("there is at least one attempt")

    async def _until_kafka_accepts(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `work`. Each time `work` raises PublishFailed, call it again after a second.

        There is no limit, so an outage of Kafka never fails a task. Other errors of `work` pass through. Raises
        ShuttingDown in place of another call when the process shuts down.
        """
        while True:
            try:
                return await work()
            except PublishFailed as error:
                log.warning("publishing failed; starting the task again", error=str(error))
                await self._pause(1)

    async def _pause(self, seconds: float) -> None:
        await pause(self._stopping, seconds)
        if self.stopping:
            raise ShuttingDown

    async def _report(self, event: ImportEvent) -> None:
        await self._until_kafka_accepts(
            lambda: self._publisher.send(topics.IMPORT_PROGRESS.name, str(event.import_id), event)
        )

    async def _plan(self, task: PlanRequested) -> Planned:
        async with connect(self._settings) as connection:
            warnings = await table_check.check(connection, self._settings)
            source_at = await legacy.clock(connection)
            importer_at = datetime.now(UTC)
            planned = await self._plan_ranges(connection, task)
        planned.warnings = [*warnings, *(planned.warnings or [])] or None
        planned.source_at, planned.importer_at = source_at, importer_at
        _check_plan_size(planned, task.rows_per_range)
        return planned

    async def _plan_ranges(self, connection: Connection, task: PlanRequested) -> Planned:
        """Plan to read only what has changed, if the task names stored ranges that can be compared."""
        method = await legacy.fingerprint_method(connection, self._settings)
        if task.stored_bounds is None:
            return await self._plan_all(connection, task, method, None)
        if because := changes_plan.why_full(task, method):
            return await self._plan_all(connection, task, method, because)
        changes = await changes_plan.plan(connection, self._settings, task, method)
        if changes is None:
            return await self._plan_all(connection, task, method, "the table is empty")
        planned = _planned(task, changes.plan, method)
        planned.unread, planned.unread_rows, planned.warnings = changes.unread, changes.unread_rows, changes.warnings
        return planned

    async def _plan_all(
        self, connection: Connection, task: PlanRequested, method: Method, because: str | None
    ) -> Planned:
        planned = _planned(task, await legacy.plan(connection, self._settings, task.rows_per_range), method)
        planned.full_because = because
        return planned

    async def _read(self, task: Reading) -> RangePublished:
        """Publish an event for every row of the range, or with one of the keys, under a new attempt id.

        Waits until Kafka has acknowledged all these events. Returns the RangePublished that the caller must report.
        Raises LegacyError and PublishFailed.
        """
        started, attempt, total = time.monotonic(), uuid4(), RangeSum()
        batch = await self._publisher.batch(topics.LEGACY_CUSTOMERS.name, attempt)
        async with connect(self._settings) as connection:
            context = self._context(task, attempt, await legacy.clock(connection))
            method = await legacy.fingerprint_method(connection, self._settings)
            async with aclosing(self._pages(connection, task, method)) as pages:
                async for page in pages:
                    context = replace(context, now=datetime.now(UTC))  # reading a range takes some time
                    # the whole page at once: taking turns with the publishing costs a fifth more
                    events = translate.to_events(rows := list(page), context)
                    total.add(rows, events)
                    await batch.add_all(events)
        last_offsets = await batch.acknowledged()
        rows_published.inc(batch.count)
        range_seconds.observe(time.monotonic() - started)
        return RangePublished(
            import_id=task.import_id,
            chunk=task.chunk,
            attempt=attempt,
            number=task.number,
            event_count=batch.count,
            last_offsets=last_offsets,
            fingerprint=total.fingerprint,
            valid_until=total.valid_until,
            basis=method.basis,
        )

    def _pages(self, connection: Connection, task: Reading, method: Method) -> Pages:
        if isinstance(task, RowsRequested):
            return legacy.read_rows(connection, self._settings, task.legacy_ids, method)
        return legacy.read_range(connection, self._settings, task.after_id, task.upto_id, method)

    def _context(self, task: Reading, attempt: UUID, read_at: datetime) -> Context:
        return Context(task.import_id, task.chunk, attempt, read_at, self._zone, self._genders, task.number)


def _planned(task: PlanRequested, plan: Plan, method: Method) -> Planned:
    return Planned(
        import_id=task.import_id,
        number=task.number,
        row_count=plan.row_count,
        upper_bounds=plan.upper_bounds,
        basis=method.basis,
        columns=method.columns,
    )


def _check_plan_size(plan: Planned, rows_per_range: int) -> None:
    """Raise LegacyError if the plan is too large: customers-api would ignore it, or Kafka would reject its record."""
    ranges = len(plan.upper_bounds)
    if ranges > limits.RANGES_PER_PLAN or len(codec.encode(plan)) > limits.RECORD_BYTES:
        raise LegacyError(
            f"the table has {plan.row_count} rows, in {ranges} ranges of {rows_per_range}: more ranges than a plan "
            "can hold; raise IMPORT_RANGE_ROWS, a setting of customers-api"
        )


def _attempt_failed(
    task: Task, chunk: int | None, attempt: int, settings: WorkSettings, error: LegacyUnavailable
) -> AttemptFailed:
    return AttemptFailed(
        import_id=task.import_id,
        chunk=chunk,
        attempt=attempt,
        attempts=1 + settings.mssql_retries_count,
        retry_seconds=settings.mssql_retries_sleep,
        error=str(error)[: limits.ERROR_CHARACTERS],
        number=task.number,
    )


def _failed(task: Task, chunk: int | None, error: str) -> Failed:
    return Failed(import_id=task.import_id, chunk=chunk, error=error, number=task.number)
