"""The topics of a real Kafka compared with their declarations."""

import asyncio

import pytest
from aiokafka.admin import NewTopic
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.contract import topics
from vapteke_shared.contract.topics import Topic
from vapteke_shared.messaging import create_topics, kafka_clients, topic_differences
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.messaging.topic_differences import Differences


def declared(name: str, partitions: int, **config: str) -> Topic:
    kept = {"cleanup.policy": "delete", "retention.ms": "86400000"}
    return topics.IMPORT_STATE._replace(
        name=f"differences.{name}",
        partitions=partitions,
        config=kept | {k.replace("_", "."): v for k, v in config.items()},
    )


@pytest.fixture(scope="module")
async def settings(kafka_server: Kafka) -> TopicsSettings:
    """A Kafka with a topic `differences.one` of one partition, and `differences.four` of four."""
    settings = TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap)
    made = [declared("one", 1), declared("four", 4)]
    async with kafka_clients.admin(settings) as admin:
        await admin.create_topics(
            [NewTopic(t.name, t.partitions, 1, topic_configs=create_topics.configuration(t)) for t in made]
        )
        async with asyncio.timeout(30):
            while not {topic.name for topic in made} <= {*await admin.list_topics()}:
                await asyncio.sleep(0.05)
    return settings


async def test_topics_as_declared_or_with_more_partitions_do_not_differ(settings: TopicsSettings) -> None:
    wanted = [declared("one", 1), declared("four", 4), declared("four", 2)]

    assert await topic_differences.find(settings, wanted) == Differences([], [], [])


async def test_a_missing_topic_is_named(settings: TopicsSettings) -> None:
    found = await topic_differences.find(settings, [declared("one", 1), declared("none", 1)])

    assert found == Differences(["differences.none"], [], [])


@pytest.mark.parametrize(
    ("topic", "words", "is_harmful"),
    [
        (declared("four", 8), "has 4 partitions, not 8: `kafka-topics.sh", False),
        (declared("four", 1), "lose their order", True),
        (declared("one", 1, cleanup_policy="compact"), "cleanup.policy=delete, not compact: `kafka-configs.sh", True),
        (declared("one", 1, retention_ms="1000"), "retention.ms=86400000, not 1000", False),
    ],
    ids=["too few partitions", "too many for its order", "not compacted", "kept for another time"],
)
async def test_a_difference_is_named_with_its_cure(
    settings: TopicsSettings, topic: Topic, words: str, is_harmful: bool
) -> None:
    [difference] = (await topic_differences.find(settings, [topic])).found

    assert words in difference.text
    assert difference.text.startswith(topic.name)
    assert difference.is_harmful is is_harmful
