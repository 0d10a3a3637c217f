"""What every Kafka client of ours needs: an admin client, the cluster's id, waiting for topics, a stop that returns."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from vapteke_shared.settings import KafkaSettings

T = TypeVar("T")


class TopicsMissing(Exception):
    """Topics that `vapteke-topics` creates are not there."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(f"topics are missing: {', '.join(sorted(names))}; `vapteke-topics` creates them")


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    return {"bootstrap_servers": settings.kafka_bootstrap_servers}


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=10_000)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def cluster_id(settings: KafkaSettings, topics: Iterable[str]) -> str:
    """The cluster's id, once all of `topics` are there; raises TopicsMissing or KafkaError."""
    async with admin(settings) as client:
        missing = set(topics) - set(await client.list_topics())
        if missing:
            raise TopicsMissing(missing)
        return str((await client.describe_cluster())["cluster_id"])


async def missing(settings: KafkaSettings, topics: Iterable[str]) -> set[str]:
    """Which of `topics` are not there. Raises KafkaError."""
    async with admin(settings) as client:
        return set(topics) - set(await client.list_topics())


async def patiently(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Try until it works or the time is over; Kafka's own errors only."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except (KafkaError, OSError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


async def stop_producer(producer: AIOKafkaProducer, seconds: float = 5) -> None:
    """Stop it, for good and in time: with Kafka gone, its own stop waits for ever (aiokafka #1101)."""
    try:
        await asyncio.wait_for(producer.stop(), seconds)
    except (TimeoutError, KafkaError):
        with suppress(Exception):  # the sender is cancelled and the sockets closed, whatever they still say
            await asyncio.wait_for(producer._sender.close(), 1)
        await producer.client.close()
