"""Finds out from `vapteke.import.state.v1` which import is active, so that tasks of other imports can be skipped."""

import asyncio
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import EventInvalid
from vapteke_shared.contract.events.imports import ImportState
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.process import logs
from vapteke_shared.process.settings import KafkaSettings

_PARTITION = TopicPartition(topics.IMPORT_STATE.name, 0)
_WAIT_MS = 50
_PAGE_RECORDS = 500
_REMEMBERED = 1000  # the relay may send a transaction twice, and no transaction names so many imports

log = logs.get(__name__)


class RecentIds:
    """A set of at most `most` import ids. When the set is full, a new id replaces the id that was added first."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._most = most
        self._ids: dict[UUID, None] = {}

    def __contains__(self, import_id: UUID) -> bool:
        return import_id in self._ids

    def add(self, import_id: UUID) -> bool:
        """Add an id. Returns True if the id is new, and False if the set has it already."""
        is_new = import_id not in self._ids
        self._ids[import_id] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        return is_new


class ImportStates:
    """Knows the latest import and the imports that have ended, from the topic of import states.

    The topic is read from its beginning, without a consumer group. customers-api writes a state before the first task
    that depends on that state, in the same Kafka transaction. So an importer that has the task finds the state, unless
    the topic was emptied or recreated. Uncommitted records are read too: a state is true even when its transaction is
    aborted. Call `close` at the end.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._latest: UUID | None = None
        self._known, self._ended = RecentIds(), RecentIds()
        self._reported: UUID | None = None

    async def is_active(self, import_id: UUID) -> bool:
        """Read the new states and return whether the import is active: it is the latest import and has not ended.

        False also when the topic has no state at all; `is_empty` tells the difference. Raises KafkaError or OSError
        when the topic cannot be read: then nothing is known about the import, so call this again later.
        """
        await self.catch_up()
        if import_id != self._latest and import_id not in self._ended:  # the topic may have been recreated
            await self._read_again()
        return import_id == self._latest and import_id not in self._ended

    async def catch_up(self) -> None:
        """Read the new states, up to the current end of the topic, and log the end that `report_end_of` asks for.

        Raises KafkaError and OSError. The next call continues where this one failed.
        """
        async with self._reading:
            await self._read_to_end(await self._started())

    async def _read_again(self) -> None:
        """Forget which import is the latest, and read the topic again from its beginning.

        This is for a topic that was recreated: it has other records at the offsets that we have passed. The
        imports that have ended are not forgotten.
        """
        async with self._reading:
            consumer = await self._started()
            await consumer.seek_to_beginning(_PARTITION)
            self._latest, self._known = None, RecentIds()
            await self._read_to_end(consumer)

    async def _read_to_end(self, consumer: AIOKafkaConsumer) -> None:
        """Read up to the current end of the topic, and fetch only while records are left to read.

        Kafka answers the requests of a connection in order: a fetch that waits for records would delay the next
        `end_offsets`.
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
        """Whether no state has been found since the topic was last read from its beginning. True before any reading.

        Call `is_active` first: it reads again from the beginning when it does not know the import, so it notices that
        the topic was emptied. `catch_up` does not.
        """
        return self._latest is None

    def report_end_of(self, import_id: UUID) -> None:
        """From now on, log the end of this import once, when `is_active` or `catch_up` reads that it has ended.

        This replaces the import of an earlier call. An end that was read before this call is not logged.
        """
        self._reported = import_id

    async def close(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            options = kafka_clients.client_options(self._settings)
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
            log.error("an import state cannot be decoded", reason=str(error))
            return
        if isinstance(event, ImportState):
            self._learn(event)

    def _learn(self, state: ImportState) -> None:
        if self._known.add(state.import_id):  # a state may come twice: the first one sets the order
            self._latest = state.import_id
        if state.status in ("requested", "running"):
            return
        if self._ended.add(state.import_id) and state.import_id == self._reported:
            _log_end(state)


def _log_end(state: ImportState) -> None:
    write = log.error if state.status == "failed" else log.info
    fields = {} if state.error is None else {"error": state.error}
    write(f"import {state.status}", import_id=str(state.import_id), read=state.read, **fields)
