"""Publishes to Kafka with an idempotent producer, in batches per partition, and waits for the acknowledgements.

When a send fails, or its outcome is unknown, the producer is closed and PublishFailed is raised. The caller must then
publish a range again from its beginning, with a new Batch and a new attempt id.
"""

import asyncio
from collections.abc import Iterable
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.codec import Headers
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.legacy_customers import LegacyRowEvent
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.messaging.batch_producer import BatchProducer, Record
from vapteke_shared.messaging.dead_letters import DeadLetter
from vapteke_shared.process import connection_errors
from vapteke_shared.process.settings import KafkaSettings

SOURCE = "legacy-importer"
_BATCH_BYTES = 512 * 1024
_ACK_SECONDS = 60


class PublishFailed(Exception):
    """Kafka cannot be reached or has not accepted a record, or it is unknown whether Kafka has.

    Sending again is right, but Kafka may then have the record twice. The text contains no values.
    """


class Publisher:
    """Sends records to Kafka. Starts a producer for the first record, and a new one after a failure.

    Call the methods one at a time, and `close` at the end.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def send(self, topic: str, key: str, event: Event) -> None:
        """Send one event and wait for its acknowledgement. Raises PublishFailed.

        `key` is the key of the record and the CloudEvents subject.
        """
        await self._send(topic, key, codec.encode(event), codec.headers(event, SOURCE, key))

    async def send_letter(self, letter: DeadLetter) -> None:
        """Send a dead letter and wait for its acknowledgement. Raises PublishFailed."""
        headers = [(name, text.encode()) for name, text in letter.headers.items()]
        await self._send(letter.topic, letter.key, letter.value, headers)

    async def _send(self, topic: str, key: str, value: bytes, headers: Headers) -> None:
        producer = await self._started()
        try:
            async with asyncio.timeout(_ACK_SECONDS):
                await producer.send_and_wait(topic, value, key.encode(), headers=headers)
        except (KafkaError, TimeoutError) as error:
            raise await self.failed(error) from None

    async def batch(self, topic: str, attempt: UUID) -> "Batch":
        """Create the Batch for the events of one attempt. Raises PublishFailed when the producer cannot be started."""
        return Batch(self, BatchProducer(await self._started(), _ACK_SECONDS), topic, attempt)

    async def close(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await kafka_clients.stop_producer(producer)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **kafka_clients.client_options(self._settings),
                enable_idempotence=True,
                acks="all",
                compression_type="zstd",
                linger_ms=0,
                max_batch_size=_BATCH_BYTES,
            )
            try:
                async with asyncio.timeout(_ACK_SECONDS):
                    await kafka_clients.start(producer, self._settings)
            except (KafkaError, OSError) as error:
                await kafka_clients.stop_producer(producer)
                raise PublishFailed(connection_errors.describe(error)) from None
            self._producer = producer
        return self._producer

    async def failed(self, error: BaseException) -> PublishFailed:
        """Close the producer after `error`, and return the PublishFailed for the caller to raise."""
        await self.close()
        return PublishFailed(connection_errors.describe(error))


class Batch:
    """Publishes the events of one attempt at a range. Call `add_all` for each page of rows, then `acknowledged` once.

    `count` is the number of events added. After a PublishFailed, the Batch is unusable.
    """

    def __init__(self, publisher: Publisher, batches: BatchProducer, topic: str, attempt: UUID) -> None:
        self._publisher, self._batches, self._topic = publisher, batches, topic
        # an attempt has one event per row; the id of an event compresses better than a random one
        self._id_prefix = f"{attempt.hex}-".encode()
        self.count = 0

    async def add_all(self, events: Iterable[LegacyRowEvent]) -> None:
        """Add events. Each full batch of a partition is sent; `acknowledged` sends the rest. Raises PublishFailed."""
        try:
            await self._batches.add_all(self._topic, map(self._record, events))
        except (KafkaError, TimeoutError) as error:
            raise await self._publisher.failed(error) from None

    def _record(self, event: LegacyRowEvent) -> Record:
        self.count += 1
        key = str(event.legacy_id).encode()
        common = codec.common_headers(event.type, SOURCE, event.read_at)
        return key, codec.encode(event), [*common, ("ce_id", self._id_prefix + key), ("ce_subject", key)]

    async def acknowledged(self) -> dict[int, int]:
        """Send what is left, and wait until Kafka has acknowledged all events. Raises PublishFailed.

        Returns the last offset of each partition that received events; empty when there were no events.
        """
        try:
            offsets = await self._batches.acknowledged()
        except (KafkaError, TimeoutError) as error:
            raise await self._publisher.failed(error) from None
        return {each.partition: offset for each, offset in offsets.items()}
