"""What the end-to-end tests stand on as containers: `VAPTEKE_TEST_STACK=containers`, where a Docker engine answers."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from secrets import token_hex

import docker
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import PortWaitStrategy

SETTING = "VAPTEKE_TEST_STACK"
POSTGRES, KAFKA = "postgres:17-trixie", "apache/kafka:4.3.1"
SQL_SERVER = "mcr.microsoft.com/mssql/server:2022-CU14-ubuntu-22.04"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Pieces:
    """Nothing in it: `vapteke up` starts all by itself."""

    options: list[str] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)
    containers: Mapping[str, DockerContainer] = field(default_factory=dict)
    """By the name of the process that `vapteke up` would have started."""


@cache
def why_not() -> str | None:
    """Why no containers are used, in one line."""
    if os.environ.get(SETTING) != "containers":
        return f"{SETTING}=containers is not set"
    try:
        docker.from_env().ping()
    except DockerException as error:
        return f"no Docker engine answers ({type(error).__name__})"
    return None


def header() -> str:
    """For the first lines of a run."""
    reason = why_not()
    return f"stack: local, as {reason}" if reason else f"stack: containers ({POSTGRES}, {KAFKA})"


@contextmanager
def pieces() -> Iterator[Pieces]:
    """Postgres and Kafka for one stack, gone with the block."""
    if why_not():
        yield Pieces()
        return
    with ExitStack() as stack:
        kafka_port = _free_port()
        postgres = stack.enter_context(
            PostgresContainer(POSTGRES, username="vapteke", password=token_hex(), driver=None)
        )
        kafka = stack.enter_context(_kafka(kafka_port))
        yield Pieces(
            ["--external", "postgres", "--external", "kafka"],
            {**_postgres_variables(postgres), "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{kafka_port}"},
            {"kafka 1": kafka, "postgres": postgres},
        )


def _postgres_variables(postgres: PostgresContainer) -> dict[str, str]:
    """One role for all: what each role may do is tested elsewhere."""
    login = {"USER": postgres.username, "PASSWORD": postgres.password}
    return {
        "POSTGRES_HOST": HOST,
        "POSTGRES_PORT": str(postgres.get_exposed_port(5432)),
        "POSTGRES_DB": postgres.dbname,
        **{f"POSTGRES_{name}": value for name, value in login.items()},
        **{f"POSTGRES_OWNER_{name}": value for name, value in login.items()},
    }


def _kafka(port: int) -> DockerContainer:
    """KRaft, one node, as in docker-compose.yml; its clients are on this machine."""
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093,INTERNAL://:9094",
        # where clients find it is no place for the broker itself, inside
        "ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port},INTERNAL://localhost:9094",
        "INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    kafka = DockerContainer(KAFKA).with_bind_ports(9092, port).waiting_for(PortWaitStrategy(9092))
    return kafka.with_envs(**{f"KAFKA_{name}": value for name, value in settings.items()})


@dataclass(frozen=True)
class SqlServer:
    """Where a real one is, and the login that the importer will have."""

    port: int
    admin_password: str
    host: str = HOST
    database: str = "vAptekeSync"
    user: str = "vaptekesync_user"
    password: str = field(default_factory=lambda: f"Va1{token_hex()}")


def why_no_sql_server() -> str | None:
    if reason := why_not():
        return reason
    if os.environ.get("MSSQL_ACCEPT_EULA") != "Y":
        return "MSSQL_ACCEPT_EULA=Y is not set: it accepts the licence of Microsoft's SQL Server image"
    try:
        docker.from_env().images.get(SQL_SERVER)
    except DockerException:
        return f"the image {SQL_SERVER} is not there: docker pull brings it"
    return None


@contextmanager
def sql_server() -> Iterator[SqlServer]:
    """Empty: `vapteke_local.vaptekesync.seed` fills it."""
    password = f"Va1{token_hex()}"
    container = DockerContainer(SQL_SERVER).with_exposed_ports(1433).waiting_for(PortWaitStrategy(1433))
    with container.with_envs(ACCEPT_EULA="Y", MSSQL_PID="Developer", MSSQL_SA_PASSWORD=password):
        yield SqlServer(int(container.get_exposed_port(1433)), password)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port
