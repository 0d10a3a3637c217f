"""Compares the topics of a Kafka with their declarations. Changes nothing."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from vapteke_shared.contract.topics import Topic
from vapteke_shared.messaging import create_topics, kafka_clients
from vapteke_shared.process.settings import KafkaSettings

_CLEANUP = "cleanup.policy"


class Difference(NamedTuple):
    """A property of a topic that differs from its declaration. `text` says how it differs, and how to correct it.

    If it `is_harmful`, records may be lost or come in the wrong order.
    """

    text: str
    is_harmful: bool


class Differences(NamedTuple):
    """Names of topics, and the differences that were found.

    `missing` topics do not exist, or this user may not see them. The configuration of `unseen` ones it may not see.
    """

    missing: list[str]
    unseen: list[str]
    found: list[Difference]


async def find(settings: KafkaSettings, topics: Iterable[Topic]) -> Differences:
    """Compare the partitions and the configuration of each topic. Raises Unavailable or KafkaError.

    More partitions than declared are no difference, except for a topic with one partition, which keeps its records in
    order.
    """
    async with kafka_clients.admin(settings) as admin:
        partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        existing = [topic for topic in topics if topic.name in partitions]
        configurations = await _configurations(admin, existing)
    found = [each for topic in existing for each in _partitions(topic, partitions[topic.name])]
    found += [each for t in existing if t.name in configurations for each in _settings(t, configurations[t.name])]
    return Differences(
        [topic.name for topic in topics if topic.name not in partitions],
        [topic.name for topic in existing if topic.name not in configurations],
        found,
    )


async def _configurations(admin: AIOKafkaAdminClient, topics: Iterable[Topic]) -> dict[str, dict[str, str]]:
    """The configuration of each topic by its name, without topics whose configuration this user may not see."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    answers: list[Any] = await admin.describe_configs(resources) if resources else []
    return {
        name: {key: value for key, value, *_ in entries}
        for answer in answers
        for code, _, _, name, entries in answer.resources
        if not code
    }


def _partitions(topic: Topic, count: int) -> Iterable[Difference]:
    if count < topic.partitions:
        change = f"kafka-topics.sh --bootstrap-server … --alter --topic {topic.name} --partitions {topic.partitions}"
        yield Difference(f"{topic.name} has {count} partitions, not {topic.partitions}: `{change}`", is_harmful=False)
    if count > topic.partitions == 1 and topic.events:
        text = f"{topic.name} has {count} partitions, so its records lose their order: delete it while no import runs"
        yield Difference(f"{text}, then `vapteke-topics`", is_harmful=True)


def _settings(topic: Topic, found: Mapping[str, str]) -> Iterable[Difference]:
    for name, declared in create_topics.configuration(topic).items():
        if found.get(name) != declared:
            change = (
                f"kafka-configs.sh --bootstrap-server … --alter --topic {topic.name} --add-config {name}={declared}"
            )
            text = f"{topic.name} has {name}={found.get(name)}, not {declared}: `{change}`"
            yield Difference(text, is_harmful=name == _CLEANUP)
