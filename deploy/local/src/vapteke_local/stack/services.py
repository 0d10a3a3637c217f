"""The services as programs: their commands, their variables, and how to see that they are ready."""

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
class Environment:
    """The variables with which the services reach their dependencies, and the data folder for ports and logs.

    The variables override those of the caller's environment.
    """

    common: Mapping[str, str]
    database: Database
    data: Path
    users: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Service → the variables of its Kafka user; empty when Kafka has no users."""

    def own(self, service: str) -> Mapping[str, str]:
        """The variables with the logins of the service itself to Postgres and Kafka; empty if the service has none."""
        return {**self.database.app.get(service, {}), **self.users.get(service, {})}


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process of a service."""

    program: Program
    url: str
    """The base URL: of the REST API if this is a `serve` process, of health and metrics if this is a worker."""
    metrics: str

    @property
    def ready(self) -> Probe:
        return partial(_ready, f"{self.url}/health/ready")


def setup_commands(environment: Environment) -> list[Program]:
    """The commands that create topics, with ACLs if Kafka has users, and tables. They are not run here.

    The caller runs them, in any order, and starts the services once all have succeeded.
    """
    migrations = [
        _program(environment, f"{name} migrate", name, "migrate", env=environment.database.owner.get(name))
        for name in SERVICES_WITH_A_SCHEMA
    ]
    acls = ["--acls"] if environment.users else []
    return [_program(environment, "vapteke-topics", "vapteke-topics", *acls), *migrations]


def variables(environment: Environment) -> dict[str, Mapping[str, str]]:
    """Service → the variables for all its commands, also those that only `migrate` needs.

    Those of an external Postgres or Kafka are not among them, because the services inherit them from this process.
    """
    database = environment.database
    return {
        name: {**environment.common, **environment.own(name), **database.owner.get(name, {})}
        for name in (*SERVICES_WITH_A_SCHEMA, "legacy-importer")
    }


def rest_process(environment: Environment, name: str) -> Service:
    """The `serve` process of the service `name`, for example `customers-api`. It is not started here."""
    port, metrics = _port(environment, name), _port(environment, f"{name} metrics")
    env = {"HTTP_HOST": HOST, "HTTP_PORT": str(port), **_metrics(metrics)}
    program = _program(environment, f"{name} serve", name, "serve", env=env)
    return Service(program=program, url=f"http://{HOST}:{port}", metrics=f"http://{HOST}:{metrics}/metrics")


def workers(environment: Environment, service: str, name: str, count: int) -> list[Service]:
    """As many `work` processes of a service as `count` says, called `name` and a number from 1 up. Not started here."""
    return [_worker(environment, service, f"{name} {number}") for number in range(1, count + 1)]


def _worker(environment: Environment, service: str, name: str) -> Service:
    """A `work` process of `service`. It is called `name`, which must be unique, and is not started here.

    Its Kafka group instance id is `name` with dashes for spaces, so the process keeps its partitions during a restart.
    """
    port = _port(environment, name)
    env = {**_metrics(port), "KAFKA_GROUP_INSTANCE_ID": name.replace(" ", "-")}
    program = _program(environment, name, service, "work", env=env)
    return Service(program=program, url=f"http://{HOST}:{port}", metrics=f"http://{HOST}:{port}/metrics")


def _program(
    environment: Environment, name: str, script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Program:
    return Program(
        name=name,
        command=[Path(sys.executable).parent / script, *arguments],
        log=environment.data / "logs" / f"{name.replace(' ', '-')}.log",
        env={**os.environ, **environment.common, **environment.own(script), **(env or {})},
        grace_seconds=25,
    )


def _port(environment: Environment, name: str) -> int:
    return data_folder.kept_port(environment.data, name)


def _metrics(port: int) -> dict[str, str]:
    return {"METRICS_HOST": HOST, "METRICS_PORT": str(port)}


async def _ready(url: str) -> str | None:
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False, verify=False) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}"
    return None if answer.status_code == 200 else f"{url}: {answer.status_code} {answer.text}"
