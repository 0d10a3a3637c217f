"""The Kafka door: tasks are taken one at a time, and committed once they are done."""

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from aiokafka.errors import KafkaError
from faststream import AckPolicy
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.imports import PlanRequested, RangeRequested
from vapteke_shared.messaging import dead_letters
from vapteke_shared.messaging.consumers import Consumer
from vapteke_shared.messaging.dead_letters import Letter
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import Health
from vapteke_shared.process.lifecycle import CutShort, limited, pause

from legacy_importer.import_states import ImportStates, RecentIds
from legacy_importer.importer import Importer, Stopping, Task
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
_STATES_LOST = (
    f"{topics.IMPORT_STATE.name} does not name this import any more: the topic was emptied, or deleted and created "
    "again; start another import"
)

log = logs.get(__name__)


class TaskConsumer(Consumer):
    """A work queue shared by all importers: a crash leaves its task to be done again."""

    states_seconds = 60.0  # for a state to come to an empty topic; the relay looks for a missing one more often

    def __init__(self, settings: WorkSettings, importer: Importer, health: Health) -> None:
        super().__init__(settings, health, "kafka", _TOPICS)
        self._importer = importer
        self._states = ImportStates(settings)
        self._skipped = RecentIds()
        self._lost: UUID | None = None
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
        """Never raises, and commits in order: a task that was not done, and all after it, stay uncommitted."""
        if self._importer.stopping:
            return
        self._in_hand = True
        try:
            await self._take(record)
        finally:
            self._in_hand = False

    async def _take(self, record: Any) -> None:
        try:
            task = _task(record)
        except EventInvalid as error:
            done = await self._buried(dead_letters.letter(record, str(error)))
        else:
            done = await self._done(task)
        if not done:
            return
        try:
            async with limited(self._stopping, 1):
                await self._consumer.commit()
        except (KafkaError, CutShort) as error:  # it will be done again, under a new attempt
            log.warning("the task's offset was not committed", error=type(error).__name__)

    async def _buried(self, letter: Letter) -> bool:
        try:
            await self._importer.bury(letter)
        except Stopping:
            return False
        dead_letters.tell(letter)
        return True

    async def _check(self) -> None:
        await super()._check()
        await self._states.catch_up()

    async def _stop(self) -> None:
        await super()._stop()
        with suppress(KafkaError, OSError):  # the process ends either way
            await self._states.close()

    async def _is_over(self, task: Task) -> bool:
        """A task without a number comes from a release that says no states: it is done."""
        if task.number is None or await self._is_alive(task.import_id):
            self._states.works_for(task.import_id)
            return False
        if self._states.is_empty:
            self._lost = task.import_id
            await self._importer.give_up(task, _STATES_LOST)
        elif self._skipped.add(task.import_id):
            log.info("tasks of an import that is not alive are skipped", import_id=str(task.import_id))
        return True

    async def _is_alive(self, import_id: UUID) -> bool:
        """The state that allows a task was sent before it, or waits in the outbox for a topic that is there again."""
        deadline = time.monotonic() + self.states_seconds
        while not (alive := await self._states.is_alive(import_id)) and self._states.is_empty:
            if import_id == self._lost or time.monotonic() > deadline:
                break
            await pause(self._stopping, 1)
            if self._stopping.is_set():
                raise Stopping
        return alive

    async def _done(self, task: Task) -> bool:
        seconds = 1.0
        while not self._stopping.is_set():
            try:
                if not await self._is_over(task):
                    await self._importer.do(task)
                return True
            except Stopping:
                return False
            except Exception as error:  # a bug: the task must not be lost
                reraise_cancellation()
                log.error("a task waits", task=type(task).__name__, error=type(error).__name__)
            await pause(self._stopping, seconds)
            seconds = min(seconds * 2, 60)
        return False


def _task(record: Any) -> Task:
    """Raises EventInvalid."""
    event = codec.decode(record.value, record.headers)
    if not isinstance(event, PlanRequested | RangeRequested):
        raise EventInvalid(f"not for this topic: {event.type}")
    return event


def _longest_task_ms(settings: WorkSettings) -> int:
    """A range with all its attempts must fit between two polls, or Kafka gives it to another importer meanwhile."""
    attempt = 2 * settings.mssql_timeout + settings.mssql_retries_sleep
    return int(1000 * (attempt * (settings.mssql_retries_count + 1) + 600))
