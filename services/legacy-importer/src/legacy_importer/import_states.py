"""Which import is alive, as customers-api says it on `vapteke.import.state.v1`: tasks of others cost nothing."""

import asyncio
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.imports import ImportState
from vapteke_shared.messaging import kafka
from vapteke_shared.process import logs
from vapteke_shared.process.settings import KafkaSettings

_PARTITION = TopicPartition(topics.IMPORT_STATE.name, 0)
_WAIT_MS = 50
_PAGE_RECORDS = 500
_REMEMBERED = 1000  # more imports than one transaction of the relay, which may come twice, can name

log = logs.get(__name__)


class RecentIds:
    """A set of the ids that were added last."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._most = most
        self._ids: dict[UUID, None] = {}

    def __contains__(self, import_id: UUID) -> bool:
        return import_id in self._ids

    def add(self, import_id: UUID) -> bool:
        """Whether it is new."""
        is_new = import_id not in self._ids
        self._ids[import_id] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        return is_new


class ImportStates:
    """Reads the topic from its beginning, outside of any group.

    A state is written in the Kafka transaction of the first task that it allows, and before it. Whoever has the task
    finds the state, if need be uncommitted: what an aborted transaction says is true as well.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._latest: UUID | None = None
        self._known, self._ended = RecentIds(), RecentIds()
        self._works_for: UUID | None = None

    async def is_alive(self, import_id: UUID) -> bool:
        """Raises KafkaError and OSError."""
        await self.catch_up()
        if import_id != self._latest and import_id not in self._ended:  # the topic may have been made anew
            await self._read_anew()
        return import_id == self._latest and import_id not in self._ended

    async def catch_up(self) -> None:
        """Read to the present end. Raises KafkaError and OSError."""
        async with self._reading:
            await self._read_on(await self._started())

    async def _read_anew(self) -> None:
        """A topic that was deleted and created again has other records at the places that we have passed."""
        async with self._reading:
            consumer = await self._started()
            await consumer.seek_to_beginning(_PARTITION)
            self._latest, self._known = None, RecentIds()
            await self._read_on(consumer)

    async def _read_on(self, consumer: AIOKafkaConsumer) -> None:
        """Fetches only while there is something to read.

        Kafka answers a connection in order: a fetch that waits for records would delay the next call of `end_offsets`.
        """
        end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
        consumer.resume(_PARTITION)
        try:
            while await consumer.position(_PARTITION) < end:
                for page in (await consumer.getmany(timeout_ms=_WAIT_MS, max_records=_PAGE_RECORDS)).values():
                    for record in page:
                        self._take(record.value, record.headers)
        finally:
            consumer.pause(_PARTITION)

    @property
    def is_empty(self) -> bool:
        """Whether the topic has named no import when it was last read."""
        return self._latest is None

    def works_for(self, import_id: UUID) -> None:
        """From now on, how this import ends is worth a line in our log."""
        self._works_for = import_id

    async def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            options = kafka.client_options(self._settings)
            consumer = AIOKafkaConsumer(**options, group_id=None, fetch_max_wait_ms=_WAIT_MS)
            try:
                await consumer.start()
                consumer.assign([_PARTITION])
                await consumer.seek_to_beginning(_PARTITION)
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    def _take(self, value: bytes | None, headers: codec.Headers) -> None:
        try:
            event = codec.decode(value, headers)
        except EventInvalid as error:
            log.error("a state cannot be understood", why=str(error))
            return
        if isinstance(event, ImportState):
            self._learn(event)

    def _learn(self, state: ImportState) -> None:
        if self._known.add(state.import_id):  # a state may be written twice: the first counts for the order
            self._latest = state.import_id
        if state.status in ("requested", "running"):
            return
        if self._ended.add(state.import_id) and state.import_id == self._works_for:
            _tell(state)


def _tell(state: ImportState) -> None:
    tell = log.error if state.status == "failed" else log.info
    fields = {} if state.error is None else {"error": state.error}
    tell(f"import {state.status}", import_id=str(state.import_id), read=state.read, **fields)
