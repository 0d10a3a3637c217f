"""Our services as programs: what each is started with, and how one sees that it is ready."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from vapteke_local.machine import data_folder
from vapteke_local.machine.processes import Probe, Program
from vapteke_local.stack.dependencies import SERVICES_WITH_A_SCHEMA, Database

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where the services find the rest: variables that go over the caller's own environment."""

    common: Mapping[str, str]
    database: Database
    data: Path
    users: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By service: who it is to Kafka, where that matters."""

    def own(self, service: str) -> Mapping[str, str]:
        """Who the service is to Postgres and Kafka."""
        return {**self.database.app.get(service, {}), **self.users.get(service, {})}


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process of a service, kept alive."""

    program: Program
    url: str
    """Where it answers: the REST service of a `serve`, health and metrics of a worker."""
    metrics: str

    @property
    def ready(self) -> Probe:
        return partial(_ready, f"{self.url}/health/ready")


def commands(around: Surroundings) -> list[Program]:
    """What has to have run before the services start."""
    migrations = [
        _program(around, f"{name} migrate", name, "migrate", env=around.database.owner.get(name))
        for name in SERVICES_WITH_A_SCHEMA
    ]
    acls = ["--acls"] if around.users else []
    return [_program(around, "vapteke-topics", "vapteke-topics", *acls), *migrations]


def variables(around: Surroundings) -> dict[str, Mapping[str, str]]:
    """By service: what `migrate` and its other processes are started with."""
    database = around.database
    return {
        name: {**around.common, **around.own(name), **database.owner.get(name, {})}
        for name in (*SERVICES_WITH_A_SCHEMA, "legacy-importer")
    }


def serving(around: Surroundings, name: str) -> Service:
    """A REST service, such as `customers-api`."""
    port, metrics = _port(around, name), _port(around, f"{name} metrics")
    env = {"HTTP_HOST": HOST, "HTTP_PORT": str(port), **_metrics(metrics)}
    program = _program(around, f"{name} serve", name, "serve", env=env)
    return Service(program=program, url=f"http://{HOST}:{port}", metrics=f"http://{HOST}:{metrics}/metrics")


def working(around: Surroundings, service: str, name: str, count: int) -> list[Service]:
    """Workers, numbered from 1."""
    return [_worker(around, service, f"{name} {number}") for number in range(1, count + 1)]


def _worker(around: Surroundings, service: str, name: str) -> Service:
    """Its name is also the one under which Kafka keeps its partitions while it is started again."""
    port = _port(around, name)
    env = {**_metrics(port), "KAFKA_GROUP_INSTANCE_ID": name.replace(" ", "-")}
    program = _program(around, name, service, "work", env=env)
    return Service(program=program, url=f"http://{HOST}:{port}", metrics=f"http://{HOST}:{port}/metrics")


def _program(
    around: Surroundings, name: str, script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Program:
    return Program(
        name=name,
        command=[Path(sys.executable).parent / script, *arguments],
        log=around.data / "logs" / f"{name.replace(' ', '-')}.log",
        env={**os.environ, **around.common, **around.own(script), **(env or {})},
        grace_seconds=25,
    )


def _port(around: Surroundings, name: str) -> int:
    return data_folder.kept_port(around.data, name)


def _metrics(port: int) -> dict[str, str]:
    return {"METRICS_HOST": HOST, "METRICS_PORT": str(port)}


async def _ready(url: str) -> str | None:
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False, verify=False) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}"
    return None if answer.status_code == 200 else f"{url}: {answer.status_code} {answer.text}"
