"""Kafka clients: makes their options, starts them with clear errors, retries, and stops a producer in time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from vapteke_shared.messaging import broker_errors
from vapteke_shared.messaging.metadata_request import MetadataRequest
from vapteke_shared.messaging.partitions import Cluster
from vapteke_shared.process import addresses, connection_errors, logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.connection_errors import Misconfigured, Unavailable
from vapteke_shared.process.settings import KafkaSettings

_PROBE_SECONDS = 5
_LOOK_SECONDS = 30
_UNKNOWN, _FORBIDDEN = UnknownTopicOrPartitionError.errno, TopicAuthorizationFailedError.errno

T = TypeVar("T")

log = logs.get(__name__)


class TopicsMissing(Unavailable):
    """Topics that `vapteke-topics` creates are missing."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(f"topics are missing: {', '.join(sorted(names))}; `vapteke-topics` creates them")


class TopicsForbidden(Unavailable):
    """Kafka's ACLs do not let this user see the topics. `vapteke-topics --acls` grants the rights."""

    def __init__(self, names: Iterable[str]) -> None:
        text = f"this user has no right to read or write the topics {', '.join(sorted(names))}"
        super().__init__(f"{text}; `vapteke-topics --acls` grants the rights")


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    return {"bootstrap_servers": settings.kafka_bootstrap_servers, **_security(settings)}


def _security(settings: KafkaSettings) -> dict[str, Any]:
    password = settings.kafka_sasl_password
    return {
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": broker_errors.tls(settings),
        "sasl_mechanism": settings.kafka_sasl_mechanism or "PLAIN",
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password and password.get_secret_value(),
    }


async def start(client: AIOKafkaAdminClient | AIOKafkaProducer, settings: KafkaSettings) -> None:
    """Start a client. The caller must also close it after an error.

    Raises KafkaError, or Unavailable with the reason when a broker cannot be used.
    """
    try:
        await client.start()
    except KafkaConnectionError as error:
        raise await _fault(settings) or error from None


async def _fault(settings: KafkaSettings) -> Unavailable | None:
    """The error of the first broker in the settings that cannot be used. None when all brokers can be used."""
    for address in settings.kafka_bootstrap_servers:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await _probe(settings, address)
        except (KafkaError, OSError, EOFError) as error:
            return broker_errors.explain(settings, address, error)
    return None


async def _probe(settings: KafkaSettings, address: str) -> None:
    """Connect to one broker as aiokafka does, but raise the errors that aiokafka hides, and disconnect again."""
    host, port = addresses.parts(address)
    connection = await create_conn(host, port, **_security(settings))
    try:
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=10_000)
    try:
        await start(client, settings)
        yield client
    finally:
        await client.close()


async def read_cluster(settings: KafkaSettings, topics: Collection[str]) -> Cluster:
    """The ids of this Kafka and of `topics`. Raises Unavailable, TopicsMissing, TopicsForbidden or KafkaError."""
    async with admin(settings) as client:
        answer = (await client._send_request(MetadataRequest(topics))).to_object()
    if missing := [topic["name"] for topic in answer["topics"] if topic["error_code"] == _UNKNOWN]:
        raise TopicsMissing(missing)
    if forbidden := [topic["name"] for topic in answer["topics"] if topic["error_code"] == _FORBIDDEN]:
        raise TopicsForbidden(forbidden)
    return Cluster(answer["cluster_id"], {topic["name"]: topic["topic_id"] for topic in answer["topics"]})


async def missing_topics(settings: KafkaSettings, topics: Iterable[str]) -> set[str]:
    """Those of `topics` that do not exist or that this user may not see.

    Raises Unavailable or KafkaError, and TimeoutError after 30 s.
    """
    async with asyncio.timeout(_LOOK_SECONDS), admin(settings) as client:
        return set(topics) - set(await client.list_topics())


async def retry(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Call `attempt` until it succeeds, and return its result.

    After a KafkaError or OSError, `attempt` is called again. Once `seconds` have passed, the next such error is raised;
    an attempt is never cut off. Misconfigured and all other errors are raised at once.
    """
    deadline, known = time.monotonic() + seconds, ""
    while True:
        try:
            return await attempt()
        except (KafkaError, OSError) as error:
            if isinstance(error, Misconfigured) or time.monotonic() > deadline:
                raise
            if known != (known := connection_errors.describe(error)):
                log.warning("waiting for Kafka", cause=known)
            await asyncio.sleep(0.5)


async def stop_producer(producer: AIOKafkaProducer, seconds: float = 5) -> None:
    """Stop a producer. If that fails or takes longer than `seconds`, give up its unsent records and close its sockets.

    While Kafka is down, the producer's own `stop` would wait for ever (aiokafka #1101).
    """
    try:
        async with asyncio.timeout(seconds):
            await producer.stop()
    except (TimeoutError, KafkaError):
        await _abandon(producer)


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Cancel the producer's sender, and close the producer's sockets even if that fails or takes over a second."""
    try:
        async with asyncio.timeout(1):
            await producer._sender.close()
    except Exception as error:
        reraise_cancellation()
        log.info("producer did not stop cleanly", error=type(error).__name__)
    await producer.client.close()
