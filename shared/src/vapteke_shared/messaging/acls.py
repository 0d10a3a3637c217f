"""Kafka's access rights (ACLs): each service may do only what its code does. `vapteke-topics --acls` creates them."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import SecurityDisabled, for_code
from aiokafka.protocol.admin import CreateAclsRequest

from vapteke_shared.process.connection_errors import Misconfigured

OPERATOR = "operator"
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "customers-api": ("customers-api.legacy-customers", "customers-api.import-progress"),
    "favorites-api": ("favorites-api.customers",),
    "legacy-importer": ("legacy-importer",),
}
_TRANSACTIONS = {"customers-api": "customers-api-outbox"}
USERS = (*_GROUPS, OPERATOR)
_DOCTOR = "legacy-importer"
NO_AUTHORIZER = "Kafka has no authorizer: set authorizer.class.name on its brokers, or omit --acls"
_ANY_HOST, _LITERAL, _ALLOW = "*", 3, 3


class Resource(IntEnum):
    """The types of resources, with Kafka's numbers."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


class Operation(IntEnum):
    """The operations, with Kafka's numbers; reading and writing include describing."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


class Acl(NamedTuple):
    """One access right; `user` is the name of a service, or `OPERATOR`."""

    user: str
    operation: Operation
    resource: Resource
    name: str


class TopicAccess(Protocol):
    """The attributes of a topic that decide who may read and write it."""

    @property
    def name(self) -> str: ...
    @property
    def producer(self) -> str: ...
    @property
    def consumers(self) -> tuple[str, ...]: ...


def required(topics: Iterable[TopicAccess]) -> list[Acl]:
    """All access rights: to `topics`, groups and transactional ids of our services; of the operator and the doctor too.

    Rights to groups come first: a service starts as soon as it may see its topics, and then joins its group at once.
    """
    named = list(topics)
    return [*_groups(), *_operator(named), *_topics(named), *_doctor(named)]


def _groups() -> Iterable[Acl]:
    for service, groups in _GROUPS.items():
        for group in groups:
            yield Acl(service, Operation.READ, Resource.GROUP, group)
            yield Acl(OPERATOR, Operation.DESCRIBE, Resource.GROUP, group)
    for service, name in _TRANSACTIONS.items():
        yield Acl(service, Operation.WRITE, Resource.TRANSACTIONAL_ID, name)


def _topics(topics: Iterable[TopicAccess]) -> Iterable[Acl]:
    for topic in topics:
        for service in _GROUPS:
            if service == topic.producer:
                yield Acl(service, Operation.WRITE, Resource.TOPIC, topic.name)
            if service in topic.consumers:
                yield Acl(service, Operation.READ, Resource.TOPIC, topic.name)


def _doctor(topics: Iterable[TopicAccess]) -> Iterable[Acl]:
    """`legacy-importer doctor` compares all topics with their declarations. Reading and writing include describing."""
    for topic in topics:
        if _DOCTOR not in (topic.producer, *topic.consumers):
            yield Acl(_DOCTOR, Operation.DESCRIBE, Resource.TOPIC, topic.name)
        yield Acl(_DOCTOR, Operation.DESCRIBE_CONFIGS, Resource.TOPIC, topic.name)


def _operator(topics: Iterable[TopicAccess]) -> Iterable[Acl]:
    """The operator's rights except those to our groups. None of them lets the operator change data or settings.

    The operator may read `topics` and their configuration, describe the cluster, and consume with the group `operator`.
    """
    yield Acl(OPERATOR, Operation.READ, Resource.GROUP, OPERATOR)
    yield Acl(OPERATOR, Operation.DESCRIBE, Resource.CLUSTER, "kafka-cluster")
    for topic in topics:
        yield Acl(OPERATOR, Operation.READ, Resource.TOPIC, topic.name)
        yield Acl(OPERATOR, Operation.DESCRIBE_CONFIGS, Resource.TOPIC, topic.name)


async def create(admin: AIOKafkaAdminClient, topics: Iterable[TopicAccess], principals: Mapping[str, str]) -> int:
    """Create all access rights, and return their number, which includes rights that existed before.

    No right is removed. Safe to repeat. `principals` maps each of USERS to Kafka's name, such as User:customers-api.
    Raises KafkaError, and Misconfigured when Kafka has no authorizer.
    """
    acls = required(topics)
    for acl in acls:
        request = CreateAclsRequest(
            acl.resource, acl.name, _LITERAL, principals[acl.user], _ANY_HOST, acl.operation, _ALLOW
        )
        answer = await admin._send_request(request)
        for code, text in answer.creation_responses:
            if code == SecurityDisabled.errno:
                raise Misconfigured(NO_AUTHORIZER)
            if code:
                raise for_code(code)(text)
    return len(acls)


def table(topics: Iterable[TopicAccess]) -> str:
    """All access rights as a Markdown table."""
    rows = [
        f"| `{a.user}` | {_words(a.operation)} | {_words(a.resource)} | `{a.name}` |" for a in sorted(required(topics))
    ]
    return "\n".join(["| user | may | what | name |", "|---|---|---|---|", *rows])


def _words(number: IntEnum) -> str:
    return number.name.replace("_", " ").lower()
