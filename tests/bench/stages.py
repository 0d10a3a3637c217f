"""How fast each stage of an import is by itself: rows per second, the median of some runs.

The stages run one after the other on real servers, each with the machine to itself; in an import they share it.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection as Pipe
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import databases
from aiokafka import AIOKafkaProducer, ConsumerRecord
from customers_api.imports import legacy_customers
from customers_api.imports.consumers import ImportConsumers
from customers_api.outbox import relay
from customers_api.outbox.oldest_rows import OldestRows
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from figures import Figure
from legacy_events import CLUSTER, end_import, records, start_import
from legacy_importer import legacy, translate
from legacy_importer.login import connect
from legacy_importer.publisher import Publisher
from legacy_importer.settings import Genders, LegacySettings
from legacy_importer.translate import Context, LegacyRow
from rich.console import Console
from rich.table import Table
from vapteke_local import people, vaptekesync
from vapteke_local.machine import cleanup
from vapteke_local.servers import kafka, postgres
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import PlanStarted
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health

BATCH = 5_000  # the default of IMPORT_BATCH_ROWS

Stage = Callable[[], Awaitable[int]]
"""Does the work once, and returns how many rows that were."""
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
    name = await databases.migrated(server, SCHEMA, postgres.DATABASE)
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=broker.bootstrap))
    settings = WorkSettings(**databases.place(server, SCHEMA, name), kafka_bootstrap_servers=broker.bootstrap)
    pool = await stack.enter_async_context(pools.create_pool(settings, SCHEMA, 4, legacy_customers.prepare))
    publisher, producer = Publisher(settings), relay.create_producer(settings)
    stack.push_async_callback(publisher.close)
    await publisher.send(topics.IMPORT_PROGRESS.name, "warm", PlanStarted(import_id=uuid4()))
    await producer.start()
    stack.push_async_callback(producer.stop)

    rows = [LegacyRow(*person) for person in people.generate(1, count)]
    context = _context(uuid4(), 1)
    events = [translate.to_event(row, context) for row in rows]
    imports = Imports(ImportConsumers(settings, pool, Health()), pool, rows)

    async def all_new() -> Stage:
        await _truncate(server)
        return await imports.prepare("created")

    async def events_waiting() -> Stage:
        await (await all_new())()
        return partial(_relay, pool, producer)

    return {
        "read through ODBC": _ready(partial(_read, legacy_settings)),
        "translate": _ready(partial(_translate, rows, context)),
        "publish to Kafka": _ready(partial(_publish, publisher, events)),
        "apply, all new": all_new,
        "apply, all unchanged": partial(imports.prepare, "unchanged"),
        "send the customers' events": events_waiting,
    }


def _ready(stage: Stage) -> Prepare:
    async def prepare() -> Stage:
        return stage

    return prepare


def _context(import_id: UUID, number: int) -> Context:
    genders = translate.spellings({"M": Genders().M, "F": Genders().F})
    return Context(import_id, 0, uuid4(), datetime.now(UTC), ZoneInfo("UTC"), genders, number)


async def _read(settings: LegacySettings) -> int:
    async with connect(settings) as connection:
        pages = legacy.read_range(connection, settings, None, 2**31 - 1)
        return sum([len(list(page)) async for page in pages])


async def _translate(rows: Iterable[LegacyRow], context: Context) -> int:
    return len([translate.to_event(row, context) for row in rows])


async def _publish(publisher: Publisher, events: Sequence[Event]) -> int:
    batch, read_at = await publisher.batch(topics.LEGACY_CUSTOMERS.name), datetime.now(UTC)
    for number, event in enumerate(events):
        await batch.add(str(number), event, read_at)
    await batch.acknowledged()
    return batch.count


class Imports:
    """Applies the same rows again and again, each time in an import of its own."""

    def __init__(self, consumers: ImportConsumers, pool: asyncpg.Pool, rows: Sequence[LegacyRow]) -> None:
        self._consumers, self._pool, self._rows, self._next_offset = consumers, pool, rows, 0

    async def prepare(self, outcome: str) -> Stage:
        """Start an import in which every row that is not rejected is `created`, or every one `unchanged`."""
        await end_import(self._pool)
        import_id = await start_import(self._pool)
        number = await self._pool.fetchval("SELECT number FROM import_chunks WHERE import_id = $1", import_id)
        context = _context(import_id, number)
        read = records((translate.to_event(row, context) for row in self._rows), self._next_offset)
        self._next_offset += len(read)
        return partial(self._apply, import_id, read, outcome)

    async def _apply(self, import_id: UUID, read: Sequence[ConsumerRecord], outcome: str) -> int:
        for start in range(0, len(read), BATCH):
            await self._consumers.apply_legacy(read[start : start + BATCH], CLUSTER, {})
        count: int = await self._pool.fetchval(
            f"SELECT coalesce(sum({outcome} + rejected), 0)::int FROM import_counts WHERE import_id = $1", import_id
        )
        if count != len(read):
            raise SystemExit(
                f"only {count} of {len(read)} rows are {outcome} or rejected: the import applies something else"
            )
        return count


async def _relay(pool: asyncpg.Pool, producer: AIOKafkaProducer) -> int:
    count = 0
    async with pool.acquire() as connection:
        oldest_rows = OldestRows(connection)
        while rows := await oldest_rows.read():
            await relay.publish(producer, rows)
            await oldest_rows.delete(rows)
            count += len(rows)
    return count


async def _truncate(server: Postgres) -> None:
    connection = await asyncpg.connect(server.dsn_of(postgres.DATABASE), server_settings={"search_path": "customers"})
    await connection.execute("TRUNCATE phones, firstnames, customers, legacy_customers, outbox")
    await connection.close()


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
