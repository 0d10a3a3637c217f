"""Starts the whole stack: Postgres, Kafka and vAptekeSync, then the services, then the file that describes them."""

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
from vapteke_local.stack.description import Stack, description_file
from vapteke_local.stack.services import Environment, Service

log = logging.getLogger(__name__)

SERVICE_READY_WITHIN_SECONDS = 300.0


class FolderTaken(StackFailure):
    """Another stack runs on the data folder."""


@dataclass(frozen=True, kw_only=True)
class Options:
    customers: int = 78_553
    seed: int = 1
    external: frozenset[Dependency] = frozenset()
    data: Path | None = None
    """The data folder; None means a new one, removed at the end."""
    ready: Path | None = None
    """The file in which the stack describes itself once everything answers; None means no file."""
    brokers: int = 1
    importers: int = 1
    consumers: int = 1
    tls: bool = False
    """Kafka with SASL_SSL and Postgres with TLS, each with data of its own."""


@asynccontextmanager
async def serve(options: Options, say: Say = log.info) -> AsyncIterator[Stack]:
    """Starts the whole stack, and yields its description once every process is ready. Raises StackFailure.

    A process that ends inside the block is started again, and its pid in the yielded `Stack.processes` changes. At the
    end of the block the stack is stopped. Only the folder `options.data`, if given, is left.
    """
    pids: dict[str, int] = {}
    stack: Stack | None = None

    def changed(process: Process) -> None:
        pids[process.name] = process.pid
        if stack and file:
            file.write(stack)

    async with AsyncExitStack() as exits:
        file = exits.enter_context(description_file(options.ready)) if options.ready else None
        data = exits.enter_context(_folder(options.data))
        secret_key = bearer_tokens.key_from_environment() or data_folder.kept_secret(data, "SECRET_KEY")
        token = bearer_tokens.issue(secret_key, "vapteke up", ["all"])
        truth = asyncio.to_thread(_truth, options)
        database, brokers, legacy, expected = await _all(*_dependencies(exits, options, data, changed, say), truth)
        environment = _environment(database, brokers, legacy, secret_key, data)
        say("creating topics and tables")
        await _all(
            *(
                processes.run(program, timeout=SERVICE_READY_WITHIN_SECONDS)
                for program in services.setup_commands(environment)
            )
        )
        say("starting the services")
        addresses = await _start_services(exits, options, environment, changed)
        stack = Stack(
            **addresses,
            postgres=database.dsn,
            kafka=brokers.bootstrap,
            vaptekesync=legacy,
            secret_key=secret_key,
            token=token,
            variables=services.variables(environment),
            logs=str(data / "logs"),
            processes=pids,
            truth=expected,
        )
        if file:
            file.write(stack)
        yield stack


def _dependencies(
    exits: AsyncExitStack, options: Options, data: Path, changed: Changed, say: Say
) -> tuple[Coroutine[Any, Any, Database], Coroutine[Any, Any, Brokers], Coroutine[Any, Any, Legacy]]:
    external = options.external
    signed = certificates.issue(data) if options.tls else None
    own_database = dependencies.own_postgres(data, signed, changed, say)
    own_brokers = dependencies.own_kafka(data, options.brokers, signed, changed, say)
    own_legacy = dependencies.own_vaptekesync(data, options.customers, options.seed, changed, say)
    return (
        exits.enter_async_context(
            dependencies.external_postgres() if Dependency.POSTGRES in external else own_database
        ),
        exits.enter_async_context(dependencies.external_kafka() if Dependency.KAFKA in external else own_brokers),
        exits.enter_async_context(
            dependencies.external_vaptekesync() if Dependency.VAPTEKESYNC in external else own_legacy
        ),
    )


def _truth(options: Options) -> dict[str, int] | None:
    return None if Dependency.VAPTEKESYNC in options.external else people.truth(options.seed, options.customers)


def _environment(database: Database, brokers: Brokers, legacy: Legacy, secret_key: str, data: Path) -> Environment:
    common = {**database.env, **brokers.env, **legacy.env, "SECRET_KEY": secret_key}
    return Environment(common=common, database=database, data=data, users=brokers.users)


async def _start_services(
    exits: AsyncExitStack, options: Options, environment: Environment, changed: Changed
) -> dict[str, Any]:
    """Starts the services. Once every process is ready, returns the fields of Stack that contain their URLs."""
    customers = services.rest_process(environment, "customers-api")
    favorites = services.rest_process(environment, "favorites-api")
    importers = services.workers(environment, "legacy-importer", "legacy-importer", options.importers)
    consumers = services.workers(environment, "customers-api", "customers-api work", options.consumers)
    followers = services.workers(environment, "favorites-api", "favorites-api work", 1)
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
    """Runs the steps concurrently and returns their results in order.

    The first failure cancels the other steps. It is raised once they have cleaned up.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """Yields the data folder, which no other stack can use while the block runs.

    It is `data`, created if missing, or for None a new folder that is removed at the end of the block. Raises
    FolderTaken if another stack uses it.
    """
    if data is not None:
        with _locked(files.ensure_folder(data.resolve())) as folder:
            yield folder
        return
    with cleanup.temporary_folder("vapteke-") as folder:
        yield folder


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"another stack runs on {folder}") from None
        yield folder
