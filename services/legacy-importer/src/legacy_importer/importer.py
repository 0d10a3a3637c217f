"""The importer's two tasks: plan an import, and read a key range and publish its rows (design, section 4)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
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
)
from vapteke_shared.messaging.dead_letters import Letter
from vapteke_shared.process import logs
from vapteke_shared.process.lifecycle import CutShort, limited, pause

from legacy_importer import legacy, table_check, translate
from legacy_importer.legacy_errors import LegacyError, LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.publisher import Publisher, PublishFailed
from legacy_importer.settings import WorkSettings
from legacy_importer.translate import Context, LegacyRow, UnreadableRow

_LAST_SECONDS = 3

T = TypeVar("T")
Task = PlanRequested | RangeRequested

log = logs.get(__name__)
rows_published = Counter("legacy_importer_rows", "Rows published, those of lost attempts too")
range_seconds = Histogram("legacy_importer_range_seconds", "Time to read and publish one key range")
attempts_failed = Counter("legacy_importer_failed_attempts", "Attempts at vAptekeSync that failed")


class Stopping(Exception):
    """The process stops: the task in hand is left to the next importer."""


class Importer:
    """Does tasks, one at a time. Each ends with an event on the progress topic; only then is its offset committed."""

    def __init__(self, settings: WorkSettings, publisher: Publisher, stopping: asyncio.Event) -> None:
        self._settings, self._publisher, self._stopping = settings, publisher, stopping
        self._zone = ZoneInfo(settings.vaptekesync_timezone)
        self._genders = translate.spellings({"M": settings.vaptekesync_genders.M, "F": settings.vaptekesync_genders.F})
        self._doomed: tuple[UUID, str] | None = None

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def do(self, task: Event) -> None:
        """Safe to repeat. Raises Stopping, at most a few seconds after the process was told to stop."""
        try:
            async with limited(self._stopping, _LAST_SECONDS):
                await self._do(task)
        except CutShort:
            raise Stopping from None

    async def give_up(self, task: Task, why: str) -> None:
        """Fail the task untried; customers-api ignores that of an import that has ended. Raises Stopping."""
        log.error("a task is given up", import_id=str(task.import_id), error=why)
        await self._report(_failed(task, task.chunk if isinstance(task, RangeRequested) else None, why))

    async def bury(self, letter: Letter) -> None:
        """With Kafka away, try again for as long as it takes. Raises Stopping."""
        await self._published(lambda: self._publisher.send_letter(letter))

    async def _do(self, task: Event) -> None:
        match task:
            case PlanRequested():
                await self._report(PlanStarted(import_id=task.import_id, number=task.number))
                await self._finish(task, None, lambda: self._plan(task))
            case RangeRequested() if self._doomed and self._doomed[0] == task.import_id:
                # one range has used up its attempts: the import has failed, and the others need not try theirs
                await self._report(_failed(task, task.chunk, self._doomed[1]))
            case RangeRequested():
                await self._finish(task, task.chunk, lambda: self._read(task))

    async def _finish(self, task: Task, chunk: int | None, work: Callable[[], Awaitable[ImportEvent]]) -> None:
        try:
            result = await self._attempted(task, chunk, work)
        except LegacyError as error:
            cause = str(error)[: limits.ERROR_CHARACTERS]
            self._doomed = (task.import_id, cause)
            log.error("a task has failed", import_id=str(task.import_id), chunk=chunk, error=cause)
            result = _failed(task, chunk, cause)
        await self._report(result)

    async def _attempted(self, task: Task, chunk: int | None, work: Callable[[], Awaitable[T]]) -> T:
        """Try as often as the settings allow; what cannot heal is not tried again. Raises LegacyError."""
        attempts = 1 + self._settings.mssql_retries_count
        for attempt in range(1, attempts + 1):
            try:
                return await self._published(work)
            except LegacyUnavailable as error:
                attempts_failed.inc()
                log.warning("an attempt has failed", attempt=attempt, of=attempts, error=str(error))
                if attempt == attempts:
                    raise LegacyError(f"{error}; attempts: {attempts}") from None
                await self._report(_attempt_failed(task, chunk, attempt, self._settings, error))
            await self._pause(self._settings.mssql_retries_sleep)
        raise AssertionError("there is at least one attempt")

    async def _published(self, work: Callable[[], Awaitable[T]]) -> T:
        """With Kafka away, try again for as long as it takes, each time from the start: an outage is no bad data."""
        while True:
            try:
                return await work()
            except PublishFailed as error:
                log.warning("publishing has failed; the task starts anew", error=str(error))
                await self._pause(1)

    async def _pause(self, seconds: float) -> None:
        await pause(self._stopping, seconds)
        if self.stopping:
            raise Stopping

    async def _report(self, event: ImportEvent) -> None:
        await self._published(lambda: self._publisher.send(topics.IMPORT_PROGRESS.name, str(event.import_id), event))

    async def _plan(self, task: PlanRequested) -> Planned:
        async with connect(self._settings) as connection:
            warnings = await table_check.check(connection, self._settings)
            source_at = await legacy.clock(connection)
            importer_at = datetime.now(UTC)
            row_count, bounds = await legacy.plan(connection, self._settings, task.rows_per_range)
        planned = Planned(
            import_id=task.import_id,
            number=task.number,
            row_count=row_count,
            upper_bounds=bounds,
            warnings=warnings or None,
            source_at=source_at,
            importer_at=importer_at,
        )
        _refuse_too_many(planned, task.rows_per_range)
        return planned

    async def _read(self, task: RangeRequested) -> RangePublished:
        """One attempt: every row of the range under a fresh attempt id, all of them acknowledged."""
        started, attempt = time.monotonic(), uuid4()
        batch = await self._publisher.batch(topics.LEGACY_CUSTOMERS.name)
        async with connect(self._settings) as connection:
            context = self._context(task, attempt, await legacy.clock(connection))
            rows = legacy.read_range(connection, self._settings, task.after_id, task.upto_id)
            async with aclosing(rows):
                async for page in rows:
                    await self._add(batch.add, page, context)
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
        )

    async def _add(
        self,
        add: Callable[[str, Event, datetime], Awaitable[None]],
        page: Iterable[LegacyRow | UnreadableRow],
        context: Context,
    ) -> None:
        context = context._replace(now=datetime.now(UTC))  # reading a range takes a while
        for row in page:
            await add(str(row.id), translate.to_event(row, context), context.read_at)

    def _context(self, task: RangeRequested, attempt: UUID, read_at: datetime) -> Context:
        return Context(task.import_id, task.chunk, attempt, read_at, self._zone, self._genders, task.number)


def _refuse_too_many(plan: Planned, rows_per_range: int) -> None:
    """customers-api ignores a plan of more ranges, and Kafka takes no larger record. Raises LegacyError."""
    ranges = len(plan.upper_bounds)
    if ranges > limits.RANGES_PER_PLAN or len(codec.encode(plan)) > limits.RECORD_BYTES:
        raise LegacyError(
            f"the table has {plan.row_count} rows, in {ranges} ranges of {rows_per_range}: more ranges than a plan "
            "can name; raise IMPORT_RANGE_ROWS, a setting of customers-api"
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
