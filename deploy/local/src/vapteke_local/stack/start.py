"""Everything together: Postgres, Kafka and vAptekeSync, then the services, described in one file once they answer."""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vapteke_local import people
from vapteke_local.machine import cleanup, data_folder, files, processes
from vapteke_local.machine.processes import Process, StackFailure
from vapteke_local.servers import certificates
from vapteke_local.stack import bearer_tokens, dependencies, services
from vapteke_local.stack.dependencies import Brokers, Changed, Database, Dependency, Legacy, Say
from vapteke_local.stack.description import Stack, _description
from vapteke_local.stack.services import Service, Surroundings

log = logging.getLogger(__name__)

SERVICE_READY_WITHIN_SECONDS = 300.0


class FolderTaken(StackFailure):
    """Two stacks on one folder would damage it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    customers: int = 78_553
    seed: int = 1
    external: frozenset[Dependency] = frozenset()
    data: Path | None = None
    """None: a new folder, removed at the end."""
    ready: Path | None = None
    """Where the stack describes itself once everything answers; None: nowhere."""
    brokers: int = 1
    importers: int = 1
    consumers: int = 1
    tls: bool = False
    """Kafka with SASL_SSL and Postgres with TLS, each with a state of its own."""


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
        secret_key = bearer_tokens.key_from_environment() or data_folder.kept_secret(data, "SECRET_KEY")
        token = bearer_tokens.issue(secret_key, "vapteke up", ["all"])
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
    own_database = dependencies.own_postgres(data, signed, changed, say)
    own_brokers = dependencies.own_kafka(data, options.brokers, signed, changed, say)
    own_legacy = dependencies.own_vaptekesync(data, options.customers, options.seed, changed, say)
    return (
        exits.enter_async_context(
            dependencies.external_postgres() if Dependency.POSTGRES in elsewhere else own_database
        ),
        exits.enter_async_context(dependencies.external_kafka() if Dependency.KAFKA in elsewhere else own_brokers),
        exits.enter_async_context(
            dependencies.external_vaptekesync() if Dependency.VAPTEKESYNC in elsewhere else own_legacy
        ),
    )


def _truth(options: Options) -> dict[str, int] | None:
    return None if Dependency.VAPTEKESYNC in options.external else people.truth(options.seed, options.customers)


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
        with _locked(files.made(data.resolve())) as folder:
            yield folder
        return
    with cleanup.folder("vapteke-") as folder:
        yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"another stack runs on {folder}") from None
        yield folder
