"""Sends records to Kafka in batches per partition, at a tenth of the cost of the producer's `send()` per record."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer

from vapteke_shared.contract.events.codec import Headers
from vapteke_shared.messaging.partitioner import partition_of
from vapteke_shared.messaging.partitions import Partition

T = TypeVar("T")
Record = tuple[bytes, bytes | None, Headers]
"""Key, value and headers; a plain tuple, because an import makes one for each row."""


class BatchProducer:
    """Sends one set of records: call `add` or `add_all` as often as needed, then `acknowledged` once.

    Records with the same key keep their order. All three methods raise KafkaError, or TimeoutError when Kafka does not
    answer for `seconds`. After an error it is unknown which records were sent, so discard the BatchProducer. If a new
    one sends the set again, records may be in the topic twice, unless the first attempt was in a Kafka transaction that
    is aborted.
    """

    def __init__(self, producer: AIOKafkaProducer, seconds: float) -> None:
        self._producer, self._seconds = producer, seconds
        self._builders: dict[str, list[Any]] = {}
        self._acks: list[tuple[Partition, int, asyncio.Future[Any]]] = []

    async def add(self, topic: str, key: bytes, value: bytes | None, headers: Headers) -> None:
        await self.add_all(topic, [(key, value, headers)])

    async def add_all(self, topic: str, records: Iterable[Record]) -> None:
        """Add records of one topic, and send each batch that is full. Does not wait for acknowledgements."""
        builders = self._builders.get(topic) or await self._open(topic)
        for key, value, headers in records:
            partition = partition_of(key, len(builders))
            if builders[partition].append(timestamp=None, key=key, value=value, headers=headers) is None:
                await self._submit(topic, partition)
                builders[partition].append(timestamp=None, key=key, value=value, headers=headers)

    async def acknowledged(self) -> dict[Partition, int]:
        """Send the remaining records, and wait until Kafka has acknowledged all of them.

        Returns the last offset of each partition that received records.
        """
        for topic, builders in self._builders.items():
            for partition in range(len(builders)):
                await self._submit(topic, partition)
        answers = await self._in_time(asyncio.gather(*(ack for _, _, ack in self._acks)))
        sent = zip(self._acks, answers, strict=True)
        return {partition: answer.offset + count - 1 for (partition, count, _), answer in sent}

    def rejected(self) -> dict[str, str]:
        """The topics that rejected a batch, each with the name of the type of its last error.

        Call this after `acknowledged` has raised an error. A batch without an answer so far does not count.
        """
        failed = ((partition.topic, ack) for partition, _, ack in self._acks if ack.done() and not ack.cancelled())
        return {topic: type(ack.exception()).__name__ for topic, ack in failed if ack.exception()}

    async def _open(self, topic: str) -> Sequence[Any]:
        partitions = await self._in_time(self._producer.partitions_for(topic))
        return self._builders.setdefault(topic, [self._producer.create_batch() for _ in partitions])

    async def _submit(self, topic: str, partition: int) -> None:
        builder = self._builders[topic][partition]
        self._builders[topic][partition] = self._producer.create_batch()
        if builder.record_count():
            ack = await self._in_time(self._producer.send_batch(builder, topic, partition=partition))
            self._acks.append((Partition(topic, partition), builder.record_count(), ack))

    async def _in_time(self, answer: Awaitable[T]) -> T:
        async with asyncio.timeout(self._seconds):
            return await answer
