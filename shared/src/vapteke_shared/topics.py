"""The topics, declared in one place, and the command that creates them: `vapteke-topics`."""

import asyncio
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field

from vapteke_shared import kafka, logs
from vapteke_shared.settings import KafkaSettings, load

_DAY_MS = 24 * 3600 * 1000


class Topic(NamedTuple):
    """`key` says what its records are keyed by; `config` is Kafka's own."""

    name: str
    key: str
    partitions: int
    config: dict[str, str]


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS)}


IMPORT_TASKS = Topic("vapteke.import.tasks.v1", "import id, chunk", 8, _kept(7))
IMPORT_PROGRESS = Topic("vapteke.import.progress.v1", "import id", 1, _kept(7))
LEGACY_CUSTOMERS = Topic("vapteke.legacy.customers.v1", "legacy id", 8, _kept(3))
LEGACY_CUSTOMERS_DEAD = Topic("vapteke.legacy.customers.dead.v1", "origin", 1, _kept(14))
CUSTOMERS = Topic(
    "vapteke.customers.v1", "customer id", 8, {"cleanup.policy": "compact", "max.compaction.lag.ms": str(_DAY_MS)}
)
ALL = (IMPORT_TASKS, IMPORT_PROGRESS, LEGACY_CUSTOMERS, LEGACY_CUSTOMERS_DEAD, CUSTOMERS)


class TopicsSettings(KafkaSettings):
    kafka_replication_factor: int = Field(1, ge=1, description="copies of each partition, for `vapteke-topics`")


async def create(settings: TopicsSettings) -> list[str]:
    """Create the topics that are missing and return their names; safe to repeat. Raises KafkaError."""
    async with kafka.admin(settings) as admin:
        missing = [topic for topic in ALL if topic.name not in set(await admin.list_topics())]
        await _create(admin, missing, settings.kafka_replication_factor)
        return [topic.name for topic in missing]


async def _create(admin: AIOKafkaAdminClient, topics: list[Topic], replicas: int) -> None:
    answer = await admin.create_topics(
        [NewTopic(t.name, t.partitions, replicas, topic_configs=t.config) for t in topics]
    )
    for name, code, *_ in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"topic {name}")


def main() -> None:
    """Create the topics, waiting for Kafka up to a minute."""
    settings = load(TopicsSettings)
    logs.configure(settings.log_level)
    try:
        created = asyncio.run(kafka.patiently(lambda: create(settings), seconds=60))
    except (KafkaError, OSError) as error:
        raise SystemExit(f"vapteke-topics: {type(error).__name__}: is Kafka at KAFKA_BOOTSTRAP_SERVERS?") from None
    logs.get("vapteke-topics").info("topics are there", created=created)
