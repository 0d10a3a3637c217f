"""What the services depend on: Postgres, Kafka and vAptekeSync, each started here or external."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

from vapteke_shared.messaging import acls

from vapteke_local.machine import data_folder, processes
from vapteke_local.machine.processes import Process, Program, StackFailure
from vapteke_local.servers import kafka, postgres
from vapteke_local.servers.certificates import Certificates
from vapteke_local.servers.kafka import Security
from vapteke_local.servers.postgres import DATABASE, Role

HOST = "127.0.0.1"
SERVICES_WITH_A_SCHEMA = {"customers-api": "customers", "favorites-api": "favorites"}
LEGACY_DATABASE, LEGACY_USER = "vAptekeSync", "vaptekesync_user"

Env = Mapping[str, str]
Changed = Callable[[Process], None]
Say = Callable[[str], None]


class Dependency(StrEnum):
    POSTGRES = "postgres"
    KAFKA = "kafka"
    VAPTEKESYNC = "vaptekesync"


class VariableMissing(StackFailure):
    """A dependency is external, but a variable that names its address or login is missing, or its port is invalid."""


@dataclass(frozen=True, kw_only=True)
class Database:
    dsn: str
    """The DSN of the superuser; for an external server, that of the owner."""
    env: Env = field(default_factory=dict)
    app: Mapping[str, Env] = field(default_factory=dict)
    """Service → the variables of its own role."""
    owner: Mapping[str, Env] = field(default_factory=dict)
    """Service → the variables of the role that owns its schema, for `migrate`."""


@dataclass(frozen=True, kw_only=True)
class Brokers:
    bootstrap: list[str]
    env: Env = field(default_factory=dict)
    users: Mapping[str, Env] = field(default_factory=dict)
    """Service → the variables of its own user; empty when Kafka has no users."""


@dataclass(frozen=True, kw_only=True)
class Legacy:
    host: str
    port: int
    database: str
    user: str
    password: str
    control_port: int | None = None
    """Where the stand-in takes commands that change its rows and set faults; None for a real vAptekeSync."""

    @property
    def env(self) -> Env:
        own = {} if self.control_port is None else {"VAPTEKESYNC_ENCRYPT": "no"}
        return {
            "VAPTEKESYNC_HOST": self.host,
            "VAPTEKESYNC_PORT": str(self.port),
            "VAPTEKESYNC_DB": self.database,
            "VAPTEKESYNC_USER": self.user,
            "VAPTEKESYNC_PASSWORD": self.password,
            **own,
        }


@asynccontextmanager
async def own_postgres(
    data: Path, certificates: Certificates | None, changed: Changed, say: Say
) -> AsyncIterator[Database]:
    say("starting Postgres")
    folder = data / ("postgres-tls" if certificates else "postgres")
    serving = postgres.serve(folder, certificates=certificates, logs=data / "logs", changed=changed, say=say)
    async with serving as server:
        schemas = SERVICES_WITH_A_SCHEMA.values()
        roles = {name: _role(data, name) for schema in schemas for name in (f"{schema}_owner", f"{schema}_app")}
        await postgres.ensure_database(server, list(roles.values()))
        yield Database(
            dsn=server.dsn_of(DATABASE),
            env={
                "POSTGRES_HOST": server.host,
                "POSTGRES_PORT": str(server.port),
                "POSTGRES_DB": DATABASE,
                **_sslmode(certificates),
            },
            app={
                service: _login("POSTGRES", roles[f"{schema}_app"])
                for service, schema in SERVICES_WITH_A_SCHEMA.items()
            },
            owner={
                service: _login("POSTGRES_OWNER", roles[f"{schema}_owner"])
                for service, schema in SERVICES_WITH_A_SCHEMA.items()
            },
        )


def _sslmode(certificates: Certificates | None) -> Env:
    if certificates is None:
        return {"POSTGRES_SSLMODE": "prefer"}
    return {"POSTGRES_SSLMODE": "verify-full", "POSTGRES_SSLROOTCERT": str(certificates.authority)}


def _role(data: Path, name: str) -> Role:
    return Role(name=name, password=data_folder.kept_secret(data, name), owner=name.endswith("_owner"))


def _login(prefix: str, role: Role) -> Env:
    return {f"{prefix}_USER": role.name, f"{prefix}_PASSWORD": role.password}


@asynccontextmanager
async def own_kafka(
    data: Path, brokers: int, certificates: Certificates | None, changed: Changed, say: Say
) -> AsyncIterator[Brokers]:
    say("starting Apache Kafka")
    folder = data / ("kafka-users" if certificates else "kafka")
    security = _security(data, certificates) if certificates else None
    serving = kafka.serve(folder, brokers=brokers, security=security, logs=data / "logs", changed=changed, say=say)
    async with serving as server:
        yield Brokers(
            bootstrap=server.bootstrap,
            env={**server.env, "KAFKA_REPLICATION_FACTOR": str(min(brokers, 3))},
            users={user: security.login(user) for user in security.others} if security else {},
        )


def _security(data: Path, certificates: Certificates) -> Security:
    others = {user: data_folder.kept_secret(data, f"kafka {user}") for user in acls.USERS}
    return Security(
        certificates=certificates, user="vapteke", password=data_folder.kept_secret(data, "kafka"), others=others
    )


@asynccontextmanager
async def own_vaptekesync(data: Path, customers: int, seed: int, changed: Changed, say: Say) -> AsyncIterator[Legacy]:
    say(f"starting the stand-in for vAptekeSync with {customers:,} customers")
    legacy = Legacy(
        host=HOST,
        port=data_folder.kept_port(data, "vaptekesync"),
        database=LEGACY_DATABASE,
        user=LEGACY_USER,
        password=data_folder.kept_secret(data, "vaptekesync"),
        control_port=data_folder.kept_port(data, "vaptekesync control"),
    )
    program = _stand_in(legacy, data, customers, seed)
    async with processes.running([program], changed) as [process]:
        await processes.until_ready(process, partial(processes.listening, legacy.port), timeout=300)
        yield legacy


def _stand_in(legacy: Legacy, data: Path, customers: int, seed: int) -> Program:
    options = {
        "--host": legacy.host,
        "--port": legacy.port,
        "--control-port": legacy.control_port,
        "--database": legacy.database,
        "--user": legacy.user,
        "--customers": customers,
        "--seed": seed,
        "--changes": data / "vaptekesync-changes",
    }
    arguments = [str(part) for option in options.items() for part in option]
    return Program(
        name="vaptekesync",
        command=[sys.executable, "-m", "vapteke_local.vaptekesync", *arguments],
        log=data / "logs" / "vaptekesync.log",
        env={**os.environ, "VAPTEKESYNC_PASSWORD": legacy.password},
    )


@asynccontextmanager
async def external_postgres() -> AsyncIterator[Database]:
    """Describes an external Postgres by the POSTGRES_… variables of this process. Raises VariableMissing.

    Does not connect and creates nothing: the database and the roles must exist already. The services inherit these
    variables, so customers-api and favorites-api use the same role. POSTGRES_HOST may list several hosts.
    """
    hosts, database, owner, password = _variables(
        Dependency.POSTGRES, "POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_OWNER_USER", "POSTGRES_OWNER_PASSWORD"
    )
    _variables(Dependency.POSTGRES, "POSTGRES_USER", "POSTGRES_PASSWORD")
    names, ports = hosts.split(","), (os.environ.get("POSTGRES_PORT") or "5432").split(",")
    servers = ",".join(f"{name.strip()}:{port.strip()}" for name, port in zip(names, cycle(ports), strict=False))
    access = f"{quote(owner)}:{quote(password)}@{servers}/{quote(database)}"
    yield Database(dsn=f"postgresql://{access}?target_session_attrs=read-write")


@asynccontextmanager
async def external_kafka() -> AsyncIterator[Brokers]:
    [servers] = _variables(Dependency.KAFKA, "KAFKA_BOOTSTRAP_SERVERS")
    yield Brokers(bootstrap=[server.strip() for server in servers.split(",")])


@asynccontextmanager
async def external_vaptekesync() -> AsyncIterator[Legacy]:
    names = ("VAPTEKESYNC_HOST", "VAPTEKESYNC_DB", "VAPTEKESYNC_USER", "VAPTEKESYNC_PASSWORD")
    host, database, user, password = _variables(Dependency.VAPTEKESYNC, *names)
    port = _port("VAPTEKESYNC_PORT", 1433)
    yield Legacy(host=host, port=port, database=database, user=user, password=password)


def _variables(dependency: Dependency, *names: str) -> list[str]:
    for name in names:
        if not os.environ.get(name):
            raise VariableMissing(f"--external {dependency}: the variable {name} is missing")
    return [os.environ[name] for name in names]


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise VariableMissing(f"the variable {name} is not a port number")
    return int(text)
