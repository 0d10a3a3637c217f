"""Takes import tasks from Kafka one at a time.

The offset of each is committed after the task was done, was skipped, or was sent to the dead-letter topic as invalid.
"""

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from aiokafka.errors import KafkaError
from faststream import AckPolicy
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.imports import PlanRequested, RangeRequested, RowsRequested
from vapteke_shared.messaging import dead_letters
from vapteke_shared.messaging.consumer import Consumer
from vapteke_shared.messaging.dead_letters import DeadLetter
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import Health
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, pause, shutdown_deadline

from legacy_importer.import_states import ImportStates, RecentIds
from legacy_importer.importer import Importer, ShuttingDown, Task
from legacy_importer.settings import WorkSettings

_USED = (
    topics.IMPORT_TASKS,
    topics.IMPORT_TASKS_DEAD,
    topics.IMPORT_STATE,
    topics.IMPORT_PROGRESS,
    topics.LEGACY_CUSTOMERS,
)
_TOPICS = [topic.name for topic in _USED]
_GROUP = "legacy-importer"
_STATE_MISSING = (
    f"{topics.IMPORT_STATE.name} no longer names this import: the topic was emptied, or deleted and created "
    "again; start another import"
)

log = logs.get(__name__)


class TaskConsumer(Consumer):
    """Consumes the topic of import tasks, which all importers share as a work queue.

    When an importer crashes, another repeats its task. Call `run` with the `stopping` that `importer` was created with.
    """

    states_seconds = 60.0  # how long to wait while the topic of states is empty; the relay sends a missing state sooner

    def __init__(self, settings: WorkSettings, importer: Importer, health: Health) -> None:
        super().__init__(settings, health, "kafka", _TOPICS)
        self._importer = importer
        self._states = ImportStates(settings)
        self._skipped = RecentIds()
        self._without_state: UUID | None = None
        self._subscriber = self._broker.subscriber(
            topics.IMPORT_TASKS.name,
            group_id=_GROUP,
            group_instance_id=settings.kafka_group_instance_id,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_poll_interval_ms=_longest_task_ms(settings),
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=self._decode,
        )
        self._subscriber(self._handle)

    async def _handle(self, record: Any) -> None:
        """Do the task of a record and commit its offset, or do nothing if the process shuts down already.

        When the shutdown interrupts the task, its offset and the offsets of all later tasks stay uncommitted, so Kafka
        gives them to an importer again. Raises nothing but CancelledError.
        """
        if self._importer.stopping:
            return
        with self._in_hand():
            await self._take(record)

    async def _take(self, record: Any) -> None:
        """Do the task of a record, or send a record without a valid task to the dead-letter topic.

        Then commit the offset of the record, even during a shutdown (for up to a second). If the shutdown interrupts
        the task or the sending, nothing is committed. A failed commit is only logged: the task may be repeated.
        """
        try:
            task = _task(record)
        except EventInvalid as error:
            done = await self._dead_letter(dead_letters.from_record(record, str(error)))
        else:
            done = await self._do(task)
        if not done:
            return
        try:
            async with shutdown_deadline(self._stopping, 1):
                await self._consumer.commit()
        except (KafkaError, ShutdownDeadlineExceeded) as error:  # the task will be repeated under a new attempt id
            log.warning("the offset of a finished task was not committed", error=type(error).__name__)

    async def _dead_letter(self, letter: DeadLetter) -> bool:
        try:
            await self._importer.send_to_dead_letters(letter)
        except ShuttingDown:
            return False
        dead_letters.report(letter)
        return True

    async def _check(self) -> None:
        await super()._check()
        await self._states.catch_up()

    async def _stop(self) -> None:
        await super()._stop()
        with suppress(KafkaError, OSError):  # the process ends either way
            await self._states.close()

    async def _skip_if_inactive(self, task: Task) -> bool:
        """Return True if the task must be skipped, because its import is not active. On False the caller does the task.

        If the topic of states is empty, the task is also reported as failed. After False, the end of the import will be
        logged. A task without a number comes from a release that writes no states, so such a task is never skipped.
        Nor is one for single rows: it costs little, and customers-api ignores the answer if its import has ended.
        Raises ShuttingDown, KafkaError and OSError.
        """
        if isinstance(task, RowsRequested):
            return False
        if task.number is None or await self._is_active(task.import_id):
            self._states.report_end_of(task.import_id)
            return False
        if self._states.is_empty:
            self._without_state = task.import_id
            await self._importer.reject(task, _STATE_MISSING)
        elif self._skipped.add(task.import_id):
            log.info("skipping tasks of an import that is not active", import_id=str(task.import_id))
        return True

    async def _is_active(self, import_id: UUID) -> bool:
        """Whether the import is active. While the topic of states is empty, waits up to `states_seconds` for a state.

        A state is sent before the tasks of its import. So the topic is empty only if it was emptied or recreated; the
        state may still be in the outbox of customers-api and arrive soon. After a wait without a result, later tasks of
        the same import do not wait. Raises ShuttingDown, KafkaError and OSError.
        """
        deadline = time.monotonic() + self.states_seconds
        while not (active := await self._states.is_active(import_id)) and self._states.is_empty:
            if import_id == self._without_state or time.monotonic() > deadline:
                break
            await pause(self._stopping, 1)
            if self._stopping.is_set():
                raise ShuttingDown
        return active

    async def _do(self, task: Task) -> bool:
        """Do or skip the task. Retries after unexpected errors without limit, with pauses of up to 60 s.

        Returns True when the task's offset may be committed, and False if the process shuts down first.
        """
        seconds = 1.0
        while not self._stopping.is_set():
            try:
                if not await self._skip_if_inactive(task):
                    await self._importer.do(task)
                return True
            except ShuttingDown:
                return False
            except Exception as error:  # a bug: the task must not be lost
                reraise_cancellation()
                log.error(
                    "a task failed unexpectedly and will be retried",
                    task=type(task).__name__,
                    error=type(error).__name__,
                )
            await pause(self._stopping, seconds)
            seconds = min(seconds * 2, 60)
        return False


def _task(record: Any) -> Task:
    """Decode a task. Raises EventInvalid."""
    event = codec.decode(record.value, record.headers)
    if not isinstance(event, PlanRequested | RangeRequested | RowsRequested):
        raise EventInvalid(f"this event does not belong to this topic: {event.type}")
    return event


def _longest_task_ms(settings: WorkSettings) -> int:
    """How many milliseconds all attempts at one range may take.

    If this importer does not poll Kafka for longer than that, Kafka gives the task to another importer.
    """
    attempt = 2 * settings.mssql_timeout + settings.mssql_retries_sleep
    return int(1000 * (attempt * (settings.mssql_retries_count + 1) + 600))
