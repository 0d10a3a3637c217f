"""Everything together: Postgres, Kafka and vAptekeSync, then the services, described in one file once they answer."""

import asyncio
import fcntl
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vapteke_local import certificates, leftovers, people, pieces, places, processes, services, tokens
from vapteke_local.pieces import Brokers, Changed, Database, Legacy, Piece, Say
from vapteke_local.processes import Process, StackFailure
from vapteke_local.services import Service, Surroundings

log = logging.getLogger(__name__)

SERVICE_READY_WITHIN_SECONDS = 300.0


class FolderTaken(StackFailure):
    """Two stacks on one folder would damage it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    customers: int = 78_553
    seed: int = 1
    external: frozenset[Piece] = frozenset()
    data: Path | None = None
    """None: a new folder, removed at the end."""
    ready: Path | None = None
    """Where the stack describes itself once everything answers; None: nowhere."""
    brokers: int = 1
    importers: int = 1
    consumers: int = 1
    tls: bool = False
    """Kafka with SASL_SSL and Postgres with TLS, each with a state of its own."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    customers_api: str
    favorites_api: str
    legacy_importer: str
    postgres: str
    kafka: list[str]
    vaptekesync: Legacy
    metrics: Mapping[str, str]
    """Name of one of our processes → where its metrics are."""
    secret_key: str
    token: str
    """Of every scope."""
    variables: Mapping[str, Mapping[str, str]]
    """Service → what it is started with."""
    logs: str
    """The folder with a file for each process."""
    processes: dict[str, int]
    """Name → pid; follows when a process is started again."""
    truth: Mapping[str, int] | None
    """The verdict that a first import must reach; None: the rows are not the generator's."""

    def describe(self) -> dict[str, Any]:
        return vars(self) | {"vaptekesync": vars(self.vaptekesync)}


def run_file() -> Path:
    """Where a running stack of this user describes itself, unless another file was asked for."""
    return places.cache_dir() / "running.json"


@asynccontextmanager
async def serve(options: Options, say: Say = log.info) -> AsyncIterator[Stack]:
    """Runs until the block ends; leaves nothing behind but what `options.data` is to keep. Raises StackFailure."""
    pids: dict[str, int] = {}
    stack: Stack | None = None

    def changed(process: Process) -> None:
        pids[process.name] = process.pid
        if stack and file:
            file.write(stack)

    async with AsyncExitStack() as exits:
        file = exits.enter_context(_description(options.ready)) if options.ready else None
        data = exits.enter_context(_folder(options.data))
        secret_key = tokens.key_from_environment() or places.kept_secret(data, "SECRET_KEY")
        token = tokens.issue(secret_key, "vapteke up", ["all"])
        truth = asyncio.to_thread(_truth, options)
        database, brokers, legacy, expected = await _all(*_pieces(exits, options, data, changed, say), truth)
        around = _surroundings(database, brokers, legacy, secret_key, data)
        say("creating topics and tables")
        await _all(
            *(processes.run(program, timeout=SERVICE_READY_WITHIN_SECONDS) for program in services.commands(around))
        )
        say("starting the services")
        addresses = await _start_services(exits, options, around, changed)
        stack = Stack(
            **addresses,
            postgres=database.dsn,
            kafka=brokers.bootstrap,
            vaptekesync=legacy,
            secret_key=secret_key,
            token=token,
            variables=services.variables(around),
            logs=str(data / "logs"),
            processes=pids,
            truth=expected,
        )
        if file:
            file.write(stack)
        yield stack


def _pieces(
    exits: AsyncExitStack, options: Options, data: Path, changed: Changed, say: Say
) -> tuple[Coroutine[Any, Any, Database], Coroutine[Any, Any, Brokers], Coroutine[Any, Any, Legacy]]:
    elsewhere = options.external
    signed = certificates.issue(data) if options.tls else None
    own_database = pieces.own_postgres(data, signed, changed, say)
    own_brokers = pieces.own_kafka(data, options.brokers, signed, changed, say)
    own_legacy = pieces.own_vaptekesync(data, options.customers, options.seed, changed, say)
    return (
        exits.enter_async_context(pieces.external_postgres() if Piece.POSTGRES in elsewhere else own_database),
        exits.enter_async_context(pieces.external_kafka() if Piece.KAFKA in elsewhere else own_brokers),
        exits.enter_async_context(pieces.external_vaptekesync() if Piece.VAPTEKESYNC in elsewhere else own_legacy),
    )


def _truth(options: Options) -> dict[str, int] | None:
    return None if Piece.VAPTEKESYNC in options.external else people.truth(options.seed, options.customers)


def _surroundings(database: Database, brokers: Brokers, legacy: Legacy, secret_key: str, data: Path) -> Surroundings:
    common = {**database.env, **brokers.env, **legacy.env, "SECRET_KEY": secret_key}
    return Surroundings(common=common, database=database, data=data, users=brokers.users)


async def _start_services(
    exits: AsyncExitStack, options: Options, around: Surroundings, changed: Changed
) -> dict[str, Any]:
    """Where they answer, once each process says that it is ready."""
    customers = services.serving(around, "customers-api")
    favorites = services.serving(around, "favorites-api")
    importers = services.working(around, "legacy-importer", "legacy-importer", options.importers)
    consumers = services.working(around, "customers-api", "customers-api work", options.consumers)
    followers = services.working(around, "favorites-api", "favorites-api work", 1)
    started = [customers, favorites, *importers, *consumers, *followers]
    running = await exits.enter_async_context(processes.running([each.program for each in started], changed))
    await _all(*(_until_ready(process, service) for process, service in zip(running, started, strict=True)))
    return {
        "customers_api": customers.url,
        "favorites_api": favorites.url,
        "legacy_importer": importers[0].url,
        "metrics": {each.program.name: each.metrics for each in started},
    }


async def _until_ready(process: Process, service: Service) -> None:
    await processes.until_ready(process, service.ready, timeout=SERVICE_READY_WITHIN_SECONDS)


async def _all(*steps: Coroutine[Any, Any, Any]) -> list[Any]:
    """Side by side. The first failure cancels the others, waits until they have cleaned up, and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """Ours alone while the block runs."""
    if data is not None:
        with _locked(places.made(data.resolve())) as folder:
            yield folder
        return
    with leftovers.folder("vapteke-") as folder:
        yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"another stack runs on {folder}") from None
        yield folder


@dataclass
class _Description:
    """The file that says where everything is; it holds passwords."""

    path: Path
    text: str = ""

    def write(self, stack: Stack) -> None:
        self.text = json.dumps(stack.describe(), indent=2) + "\n"
        places.write_private(self.path, self.text)


@contextmanager
def _description(path: Path) -> Iterator[_Description]:
    """Nobody shall take an earlier stack's description for ours, nor lose that of a later one."""
    description = _Description(path.resolve())
    description.path.unlink(missing_ok=True)
    try:
        yield description
    finally:
        if description.path.exists() and description.path.read_text() == description.text:
            description.path.unlink()
