"""The Kafka door: tasks are taken one at a time, and committed once they are done."""

from typing import Any

from aiokafka.errors import KafkaError
from faststream import AckPolicy
from vapteke_shared import events, logs, topics
from vapteke_shared.consumers import Consumer
from vapteke_shared.events import Event, EventInvalid
from vapteke_shared.health import Health
from vapteke_shared.processes import CutShort, limited, pause
from vapteke_shared.tasks import reraise_cancellation

from legacy_importer.importer import Importer, Stopping
from legacy_importer.settings import WorkSettings

_TOPICS = [topic.name for topic in (topics.IMPORT_TASKS, topics.IMPORT_PROGRESS, topics.LEGACY_CUSTOMERS)]
_GROUP = "legacy-importer"

log = logs.get(__name__)


class TaskConsumer(Consumer):
    """A work queue shared by all importers: a crash leaves its task to be done again."""

    def __init__(self, settings: WorkSettings, importer: Importer, health: Health) -> None:
        super().__init__(settings, health, "kafka", _TOPICS)
        self._importer = importer
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
            task = events.decode(record.value, record.headers)
        except EventInvalid as error:
            log.error("a task cannot be understood", offset=record.offset, partition=record.partition, why=str(error))
        else:
            if not await self._done(task):
                return
        try:
            async with limited(self._stopping, 1):
                await self._consumer.commit()
        except (KafkaError, CutShort) as error:  # it will be done again, under a new attempt
            log.warning("the task's offset was not committed", error=type(error).__name__)

    async def _done(self, task: Event) -> bool:
        seconds = 1.0
        while not self._stopping.is_set():
            try:
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


def _longest_task_ms(settings: WorkSettings) -> int:
    """A range with all its attempts must fit between two polls, or Kafka gives it to another importer meanwhile."""
    attempt = 2 * settings.mssql_timeout + settings.mssql_retries_sleep
    return int(1000 * (attempt * (settings.mssql_retries_count + 1) + 600))
