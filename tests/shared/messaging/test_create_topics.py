"""`vapteke-topics` on a real Kafka."""

from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.contract import topics
from vapteke_shared.messaging import acls, create_topics, kafka_clients
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process.connection_errors import Misconfigured

NAMES = [topic.name for topic in topics.ALL]
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def settings(kafka_server: Kafka) -> TopicsSettings:
    return TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap)


DELETED = {
    "vapteke.import.tasks.v1": (8, 7),
    "vapteke.import.tasks.dead.v1": (1, 14),
    "vapteke.import.progress.v1": (1, 7),
    "vapteke.import.progress.dead.v1": (1, 14),
    "vapteke.import.state.v1": (1, 14),
    "vapteke.legacy.customers.v1": (8, 3),
    "vapteke.legacy.customers.dead.v1": (1, 14),
}
"""Partitions, and the days that records are kept."""


@pytest.fixture
async def admin(settings: TopicsSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    async with kafka_clients.admin(settings) as client:
        yield client


async def configuration(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(_, _, _, _, entries)] = answer.resources
    return {name: value for name, value, *_ in entries}


async def test_creating_again_creates_nothing(settings: TopicsSettings) -> None:
    await create_topics.create(settings)

    assert await create_topics.create(settings) == []


async def test_the_topics_have_their_partitions_and_configuration(
    settings: TopicsSettings, admin: AIOKafkaAdminClient
) -> None:
    await create_topics.create(settings)

    described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(NAMES)}
    cleanup = {name: await configuration(admin, name) for name in NAMES}
    customers = cleanup.pop(topics.CUSTOMERS.name)
    kept = {name: int(each["retention.ms"]) / DAY_MS for name, each in cleanup.items()}

    assert described == {"vapteke.customers.v1": 8, **{name: partitions for name, (partitions, _) in DELETED.items()}}
    assert {each["cleanup.policy"] for each in cleanup.values()} == {"delete"}
    assert kept == {name: days for name, (_, days) in DELETED.items()}
    assert customers["cleanup.policy"] == "compact"
    assert int(customers["max.compaction.lag.ms"]) == DAY_MS
    assert int(customers["delete.retention.ms"]) == 14 * DAY_MS


async def test_an_existing_topic_keeps_its_partitions(settings: TopicsSettings, admin: AIOKafkaAdminClient) -> None:
    await create_topics.create(settings)
    before = await admin.describe_topics(NAMES)

    await create_topics.create(settings)

    assert await admin.describe_topics(NAMES) == before


async def test_the_ids_of_cluster_and_topics_are_known_once_the_topics_exist(settings: TopicsSettings) -> None:
    await create_topics.create(settings)

    first = await kafka_clients.read_cluster(settings, NAMES)

    assert len(first.id) == 22
    assert first.topics.keys() == set(NAMES)
    assert await kafka_clients.read_cluster(settings, NAMES) == first


async def test_missing_topics_are_named_with_the_command_that_creates_them(settings: TopicsSettings) -> None:
    with pytest.raises(kafka_clients.TopicsMissing, match=r"b\.v1, c\.v1; `vapteke-topics` creates them"):
        await kafka_clients.read_cluster(settings, ["c.v1", "b.v1"])


async def test_a_kafka_without_an_authorizer_is_named_at_once(settings: TopicsSettings) -> None:
    with pytest.raises(Misconfigured, match=r"set authorizer\.class\.name"):
        await create_topics.create_acls(settings, {user: f"User:{user}" for user in acls.USERS})


def test_principals_without_acls_are_rejected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["vapteke-topics", "--principal", "operator=User:me"])

    with pytest.raises(SystemExit):
        create_topics.main()

    assert "add --acls" in capsys.readouterr().err


def test_names_contain_the_version_and_no_key_is_a_phone() -> None:
    assert all(topic.name.startswith("vapteke.") and topic.name.endswith(".v1") for topic in topics.ALL)
    assert all("phone" not in topic.key for topic in topics.ALL)
