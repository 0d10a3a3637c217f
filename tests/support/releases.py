"""Two releases over one Postgres and one Kafka: an earlier one, from the history, and the one that is checked out."""

import asyncio
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from running_stack import START_SECONDS, place_of
from vapteke_local.machine import files, ports, processes
from vapteke_local.machine.processes import Process, Program
from vapteke_local.servers.kafka import client_options
from vapteke_local.stack import dependencies, services
from vapteke_local.stack.dependencies import Legacy
from vapteke_local.stack.services import Environment, Service
from vapteke_local.vaptekesync import Server
from vapteke_shared.contract.topics import Topic

ROOT = Path(__file__).parents[2]
SOURCES = ("shared", "services/customers-api", "services/favorites-api", "services/legacy-importer", "deploy/local")
SECRET_KEY = "a key for the tests of an upgrade, made up"
PROCESSES = {
    "customers-api serve": "customers-api",
    "favorites-api serve": "favorites-api",
    "customers-api work": "customers-api",
    "favorites-api work": "favorites-api",
    "legacy-importer work": "legacy-importer",
}


def checked_out(commit: str, folder: Path) -> Path:
    """The commit's tree, in the folder. Skips the test where there is no history."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: an earlier release cannot be had from the history")
    archive = subprocess.run(["git", "archive", commit, *SOURCES], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the commit {commit} cannot be had from the history: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", files.ensure_folder(folder)], input=archive.stdout, check=True)
    return folder


@dataclass
class Release:
    """One release's processes, each started and stopped by its name in PROCESSES."""

    name: str
    environment: Environment
    sources: Path | None = None
    """None: what is checked out."""
    running: dict[str, tuple[Process, Service]] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)

    async def prepare(self) -> None:
        """Topics and migrations."""
        await asyncio.gather(
            *(
                processes.run(self._ours(each), timeout=START_SECONDS)
                for each in services.setup_commands(self.environment)
            )
        )

    async def start(self, *names: str) -> None:
        """Those named, or all; returns when each is ready."""
        await asyncio.gather(*(self._start(name) for name in names or PROCESSES))

    async def _start(self, name: str) -> None:
        service = self._service(name)
        process = Process(self._ours(service.program))
        await process.start()
        self.running[name] = process, service
        await processes.until_ready(process, service.ready, timeout=START_SECONDS)
        self.ready.add(name)

    def _service(self, name: str) -> Service:
        if name.endswith(" serve"):
            return services.rest_process(self.environment, PROCESSES[name])
        return services.workers(self.environment, PROCESSES[name], f"{self.name} {name}", 1)[0]

    async def stop(self, *names: str) -> None:
        """Those named, or all that run."""
        self.ready -= {*(names or self.running)}
        stopped = [self.running.pop(name)[0] for name in names or [*self.running]]
        await asyncio.gather(*(process.stop() for process in stopped))

    def deaths(self) -> dict[str, int]:
        """By name, how often each that runs has ended by itself."""
        return {name: process.deaths for name, (process, _) in self.running.items()}

    async def rows_applied(self) -> float:
        """Rows of imports that its `customers-api work` has applied since its start."""
        _, service = self.running["customers-api work"]
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(service.metrics)).text
        return float(text.split("\nvapteke_batch_rows_sum ")[1].split("\n")[0])

    def url(self, name: str) -> str:
        return self.running[name][1].url

    def _ours(self, program: Program) -> Program:
        """Before the installed sources come those of the release."""
        if self.sources is None:
            return program
        sources = os.pathsep.join(str(self.sources / part / "src") for part in SOURCES)
        executable, *arguments = program.command
        command = [*_started_by(self.sources, Path(executable)), *arguments]
        return replace(program, command=command, env={**(program.env or {}), "PYTHONPATH": sources})

    def output(self, service: str, *arguments: str) -> str:
        """Of a command of the service."""
        variables = services.variables(self.environment)[service]
        return self._run(Path(sys.executable).parent / service, *arguments, **variables)

    def is_of(self, folder: Path | None) -> bool:
        """Whether its code is in the folder."""
        found = self._run(sys.executable, "-c", "import customers_api; print(customers_api.__file__)")
        return folder is not None and Path(found).is_relative_to(folder)

    def _run(self, *command: str | Path, **variables: str) -> str:
        program = self._ours(Program(name="", command=command, log=Path(), env={**os.environ, **variables}))
        done = subprocess.run(program.command, env=program.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()


def _started_by(sources: Path, executable: Path) -> list[str | Path]:
    """The installed script names a module of the new release; the old one's pyproject files name its own."""
    for part in SOURCES:
        scripts = tomllib.loads((sources / part / "pyproject.toml").read_text())["project"].get("scripts", {})
        if executable.name in scripts:
            module, function = scripts[executable.name].split(":")
            started = f"import sys\nfrom {module} import {function}\n"
            return [sys.executable, "-c", f"{started}sys.argv[0] = '{executable.name}'\nsys.exit({function}())"]
    return [executable]


@dataclass
class Releases:
    old: Release
    new: Release
    dsn: str
    kafka: Mapping[str, str]
    """The variables by which it is found."""
    earlier_legacy: Legacy
    """The stand-in that the earlier importer reads."""

    @property
    def bootstrap(self) -> list[str]:
        return self.kafka["KAFKA_BOOTSTRAP_SERVERS"].split(",")

    @asynccontextmanager
    async def database(self, schema: str = "customers") -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.dsn, server_settings={"search_path": schema})
        try:
            yield connection
        finally:
            await connection.close()

    async def unread(self, topic: Topic, schema: str) -> int:
        """Records that the service of this schema has yet to take."""
        places_ = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer = AIOKafkaConsumer(**client_options(self.kafka))
        try:
            await consumer.start()
            ends = await consumer.end_offsets(places_)
        finally:
            await consumer.stop()
        async with self.database(schema) as connection:
            taken = await connection.fetchval(
                "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumed_offsets WHERE topic = $1", topic.name
            )
        return sum(ends.values()) - int(taken)


@asynccontextmanager
async def _earlier_legacy(folder: Path, sources: Path, seed: int, count: int) -> AsyncIterator[Legacy]:
    """A process of the earlier release."""
    legacy = Legacy(
        host="127.0.0.1",
        port=ports.free_port(),
        database="vAptekeSync",
        user="vaptekesync_user",
        password=SECRET_KEY.replace(" ", "-"),
        control_port=ports.free_port(),
    )
    place = ("--host", legacy.host, "--port", str(legacy.port), "--control-port", str(legacy.control_port))
    people = ("--customers", str(count), "--seed", str(seed))
    login = ("--database", legacy.database, "--user", legacy.user)
    program = Program(
        name="the earlier vaptekesync",
        command=[sys.executable, "-m", "vapteke_local.vaptekesync", *place, *login, *people],
        log=folder / "earlier-vaptekesync.log",
        env={**os.environ, "PYTHONPATH": str(sources / "deploy/local/src"), "VAPTEKESYNC_PASSWORD": legacy.password},
    )
    async with processes.running([program]) as [process]:
        await processes.until_ready(process, partial(processes.listening, legacy.port), timeout=START_SECONDS)
        yield legacy


def _nothing(_: object) -> None:
    """No start is reported."""


@asynccontextmanager
async def releases(
    commit: str, folder: Path, legacy: Server, rows: tuple[int, int], **variables: str
) -> AsyncIterator[Releases]:
    """Nothing of either release runs yet. `rows` are the seed and the count of the people in `legacy`.

    The stand-in answers the statements of its own release alone: the earlier importer reads the same people from one of
    its own.
    """
    sources = checked_out(commit, folder / "sources")
    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(dependencies.own_postgres(folder, None, _nothing, _nothing))
        brokers = await exits.enter_async_context(dependencies.own_kafka(folder, 1, None, _nothing, _nothing))
        earlier = await exits.enter_async_context(_earlier_legacy(folder, sources, *rows))
        common = {**database.env, **brokers.env, "SECRET_KEY": SECRET_KEY, **variables}
        old, new = (
            Environment(common={**common, **where}, database=database, data=files.ensure_folder(folder / name))
            for name, where in (("old", earlier.env), ("new", place_of(legacy)))
        )
        both = Releases(Release("old", old, sources), Release("new", new), database.dsn, brokers.env, earlier)
        try:
            yield both
        finally:
            await asyncio.gather(both.old.stop(), both.new.stop())


def client(url: str, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False, verify=False
    )
