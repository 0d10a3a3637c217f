"""The command `vapteke-topics`: creates the topics and, with `--acls`, the access rights of each service."""

import argparse
import asyncio
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field

from vapteke_shared.contract import topics
from vapteke_shared.contract.topics import Topic
from vapteke_shared.messaging import acls, kafka_clients
from vapteke_shared.process import connection_errors, logs
from vapteke_shared.process.settings import KafkaSettings, load

_LIMIT = {"max.message.bytes": "1048588"}  # Kafka's default, set for each topic in case a broker has another


class TopicsSettings(KafkaSettings):
    kafka_replication_factor: int = Field(1, ge=1, description="copies of each partition, for `vapteke-topics`")


async def create(settings: TopicsSettings) -> list[str]:
    """Create the missing topics and return their names. Topics that exist are not changed. Safe to repeat.

    Raises Unavailable or KafkaError.
    """
    async with kafka_clients.admin(settings) as admin:
        missing = [topic for topic in topics.ALL if topic.name not in set(await admin.list_topics())]
        await _create(admin, missing, settings.kafka_replication_factor)
        return [topic.name for topic in missing]


async def _create(admin: AIOKafkaAdminClient, missing: list[Topic], replicas: int) -> None:
    answer = await admin.create_topics(
        [NewTopic(t.name, t.partitions, replicas, topic_configs=configuration(t)) for t in missing]
    )
    for name, code, *_ in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"topic {name}")


def configuration(topic: Topic) -> dict[str, str]:
    """The configuration with which the topic is created."""
    return {**_LIMIT, **topic.config}


async def create_acls(settings: TopicsSettings, principals: Mapping[str, str]) -> int:
    """Create the access rights of all users and return their number, old ones included. Safe to repeat.

    `principals` maps each of `acls.USERS` to Kafka's name. Raises Unavailable, Misconfigured without an authorizer, or
    KafkaError.
    """
    async with kafka_clients.admin(settings) as admin:
        return await acls.create(admin, topics.ALL, principals)


def main() -> None:
    """Create the access rights if `--acls` is given, then the missing topics. Each step retries for a minute.

    Raises SystemExit with a text for operators when a step fails or a setting is invalid.
    """
    given = _arguments()
    settings = load(TopicsSettings)
    logs.configure(settings.log_level)
    log = logs.get("vapteke-topics")
    try:
        if given.acls:  # before the topics: a service starts to work when it sees its topics
            count = asyncio.run(kafka_clients.retry(lambda: create_acls(settings, given.principals), seconds=60))
            log.info("access rights exist", count=count)
        created = asyncio.run(kafka_clients.retry(lambda: create(settings), seconds=60))
    except (KafkaError, OSError) as error:
        raise SystemExit(f"vapteke-topics: {connection_errors.describe(error)}") from None
    log.info("topics exist", created=created)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Create the topics that are missing. Safe to repeat.")
    parser.add_argument("--acls", action="store_true", help="also create the access rights listed in docs/kafka.md")
    parser.add_argument(
        "--principal",
        action="append",
        default=[],
        metavar="USER=PRINCIPAL",
        help=f"Kafka's principal for one of {', '.join(acls.USERS)}; default: User:USER",
    )
    given = parser.parse_args()
    pairs = [text.partition("=") for text in given.principal]
    if unknown := [user for user, _, principal in pairs if user not in acls.USERS or not principal]:
        parser.error(f"--principal {unknown[0]}: expected USER=PRINCIPAL with a USER of {', '.join(acls.USERS)}")
    if given.principal and not given.acls:
        parser.error("--principal needs --acls: add --acls, or omit --principal")
    given.principals = {user: f"User:{user}" for user in acls.USERS} | {user: name for user, _, name in pairs}
    return given
