"""How fast the other stages of an import are, each by itself: rows per second, the median of some runs.

The stages run one after the other on real servers, each with the machine to itself; in an import they share it.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection as Pipe
from uuid import uuid4

import asyncpg
import legacy_imports
from aiokafka import AIOKafkaProducer
from customers_api.outbox import relay
from customers_api.outbox.oldest_rows import OldestRows
from figures import Figure
from legacy_importer import legacy, translate
from legacy_importer.login import connect
from legacy_importer.publisher import Publisher
from legacy_importer.settings import LegacySettings
from legacy_importer.translate import Context, LegacyRow
from legacy_imports import LegacyImports, Stage
from rich.console import Console
from rich.table import Table
from vapteke_local import people, vaptekesync
from vapteke_local.machine import cleanup
from vapteke_local.servers import kafka, postgres
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.imports import PlanStarted
from vapteke_shared.contract.events.legacy_customers import LegacyRowEvent
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings

_PAGE = 5_000  # rows that an importer fetches at once

Prepare = Callable[[], Awaitable[Stage]]
"""What a stage needs before its clock starts."""


async def measure(rows: int, runs: int) -> list[Figure]:
    """Show the figures, and return them."""
    with cleanup.temporary_folder("vapteke-bench-") as folder, _legacy_settings(rows) as legacy_settings:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(postgres.serve(folder / "postgres"))
            broker = await stack.enter_async_context(kafka.serve(folder / "kafka"))
            prepared = await _prepared(stack, legacy_settings, server, broker, rows)
            figures = [Figure(name, await _rate(prepare, runs), "rows/s") for name, prepare in prepared.items()]
    table = Table("stage", "rows/s", title=f"{rows:,} rows, median of {runs}", title_justify="left")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:,.0f}")
    Console().print(table)
    return figures


async def _rate(prepare: Prepare, runs: int) -> float:
    rates = []
    for _ in range(runs):
        stage = await prepare()
        started = time.perf_counter()
        count = await stage()
        rates.append(count / (time.perf_counter() - started))
    return statistics.median(rates)


async def _prepared(
    stack: AsyncExitStack, legacy_settings: LegacySettings, server: Postgres, broker: Kafka, count: int
) -> dict[str, Prepare]:
    """The stages by name, in the order of an import."""
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=broker.bootstrap))
    opened = legacy_imports.opened(server, ",".join(broker.bootstrap))
    settings, pool = await stack.enter_async_context(opened)
    connection = await legacy_imports.superuser(server)
    stack.push_async_callback(connection.close)
    publisher, producer = Publisher(settings), relay.create_producer(settings)
    stack.push_async_callback(publisher.close)
    await publisher.send(topics.IMPORT_PROGRESS.name, "warm", PlanStarted(import_id=uuid4()))
    await producer.start()
    stack.push_async_callback(producer.stop)

    rows = [LegacyRow(*person) for person in people.generate(1, count)]
    events = legacy_imports.translated(rows)
    imports = LegacyImports(settings, pool, events)

    async def events_waiting() -> Stage:
        await legacy_imports.empty(connection)
        await (await imports.prepare("created"))()
        return partial(_relay, pool, producer)

    return {
        "read through ODBC": _ready(partial(_read, legacy_settings)),
        "translate": _ready(partial(_translate, rows, legacy_imports.context())),
        "publish to Kafka": _ready(partial(_publish, publisher, events)),
        "send the customers' events": events_waiting,
    }


def _ready(stage: Stage) -> Prepare:
    async def prepare() -> Stage:
        return stage

    return prepare


async def _read(settings: LegacySettings) -> int:
    async with connect(settings) as connection:
        pages = legacy.read_range(connection, settings, None, 2**31 - 1)
        return sum([len(list(page)) async for page in pages])


async def _translate(rows: Sequence[LegacyRow], context: Context) -> int:
    pages = [rows[start : start + _PAGE] for start in range(0, len(rows), _PAGE)]
    return sum(len(translate.to_events(page, context)) for page in pages)


async def _publish(publisher: Publisher, events: Sequence[LegacyRowEvent]) -> int:
    batch = await publisher.batch(topics.LEGACY_CUSTOMERS.name, uuid4())
    await batch.add_all(events)
    await batch.acknowledged()
    return batch.count


async def _relay(pool: asyncpg.Pool, producer: AIOKafkaProducer) -> int:
    count = 0
    async with pool.acquire() as connection:
        oldest_rows = OldestRows(connection)
        while rows := await oldest_rows.read():
            await relay.publish(producer, rows)
            await oldest_rows.delete(rows)
            count += len(rows)
    return count


@contextmanager
def _legacy_settings(rows: int) -> Iterator[LegacySettings]:
    """Of a stand-in for vAptekeSync in a process of its own: it must not share the reader's interpreter."""
    context = multiprocessing.get_context("spawn")  # a fork would keep our files open after our end
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_legacy, args=(theirs, rows), daemon=True)
    process.start()
    try:
        with closing(ours):
            yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve_legacy(pipe: Pipe, rows: int) -> None:
    async def serve() -> None:
        async with vaptekesync.serve(tuple(person) for person in people.generate(1, rows)) as server:
            pipe.send(
                LegacySettings(
                    vaptekesync_host=server.host,
                    vaptekesync_port=server.port,
                    vaptekesync_db=server.database,
                    vaptekesync_user=server.user,
                    vaptekesync_password=server.password,
                    vaptekesync_encrypt="no",
                )
            )
            await asyncio.Event().wait()

    asyncio.run(serve())
