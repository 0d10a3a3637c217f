"""How fast each stage of an import is by itself: `make bench`. Rows per second, the median of three runs.

The stages run one after the other on real servers, each with the machine to itself; in an import they share it.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import databases
from aiokafka import AIOKafkaProducer
from customers_api import legacy_customers, relay
from customers_api.consumer import ImportConsumers
from customers_api.models import SCHEMA
from customers_api.outbox_head import Head
from customers_api.settings import WorkSettings
from legacy_events import CLUSTER, end_import, record, start_import
from legacy_importer import legacy, translate
from legacy_importer.publisher import Publisher
from legacy_importer.session import connected
from legacy_importer.settings import Genders, LegacySettings
from legacy_importer.translate import Context, LegacyRow
from rich.console import Console
from rich.table import Table
from vapteke_local import kafka, leftovers, people, postgres, processes, vaptekesync
from vapteke_local.kafka import Kafka
from vapteke_local.postgres import Postgres
from vapteke_shared import database, logs, topics
from vapteke_shared.events import Event, PlanStarted
from vapteke_shared.health import Health
from vapteke_shared.topics import TopicsSettings

ROWS, BATCH, RUNS = 50_000, 5_000, 3
Stage = Callable[[], Awaitable[Any]]


def _legacy_process(pipe: Pipe) -> None:
    async def serve() -> None:
        async with vaptekesync.serve(tuple(person) for person in people.generate(1, ROWS)) as server:
            pipe.send((server.host, server.port, server.database, server.user, server.password))
            await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def _legacy_settings() -> Iterator[LegacySettings]:
    """Of a stand-in in a process of its own: it must not share the reader's interpreter."""
    context = multiprocessing.get_context("spawn")  # a fork would keep our files open after our end
    ours, theirs = context.Pipe()
    process = context.Process(target=_legacy_process, args=(theirs,), daemon=True)
    process.start()
    with closing(ours):
        host, port, name, user, password = ours.recv()
        yield LegacySettings(
            vaptekesync_host=host,
            vaptekesync_port=port,
            vaptekesync_db=name,
            vaptekesync_user=user,
            vaptekesync_password=password,
            vaptekesync_encrypt="no",
        )
    process.terminate()
    process.join()


async def _read(settings: LegacySettings) -> None:
    async with connected(settings) as connection:
        async for page in legacy.read_range(connection, settings, None, 2**31 - 1):
            list(page)


def _context(import_id: UUID) -> Context:
    genders = translate.spellings({"M": Genders().M, "F": Genders().F})
    return Context(import_id, 0, uuid4(), datetime.now(UTC), ZoneInfo("UTC"), genders)


def _translated(import_id: UUID) -> list[Event]:
    context = _context(import_id)
    return [translate.to_event(LegacyRow(*person), context) for person in people.generate(1, ROWS)]


async def _publish(publisher: Publisher, events: list[Event]) -> None:
    batch = await publisher.batch(topics.LEGACY_CUSTOMERS.name)
    for number, event in enumerate(events):
        await batch.add(str(number), event, datetime.now(UTC))
    await batch.acknowledged()


class Applying:
    """Applies the same people again and again, each time in an import of its own."""

    def __init__(self, consumers: ImportConsumers, pool: asyncpg.Pool) -> None:
        self._consumers, self._pool, self._offset = consumers, pool, 0

    async def prepared(self) -> Stage:
        await end_import(self._pool)
        events = _translated(await start_import(self._pool))
        records = [record(event, self._offset + place) for place, event in enumerate(events)]
        self._offset += len(records)
        return lambda: self._apply(records)

    async def _apply(self, records: list[Any]) -> None:
        for start in range(0, len(records), BATCH):
            await self._consumers.apply_legacy(records[start : start + BATCH], CLUSTER, {})


async def _relay(pool: asyncpg.Pool, producer: AIOKafkaProducer) -> None:
    async with pool.acquire() as connection:
        head = Head(connection)
        while rows := await head.read():
            await relay.publish(producer, rows)
            await head.delete(rows)


async def _measured(prepare: Callable[[], Awaitable[Stage]]) -> float:
    rates = []
    for _ in range(RUNS):
        stage = await prepare()
        started = time.perf_counter()
        await stage()
        rates.append(ROWS / (time.perf_counter() - started))
    return statistics.median(rates)


async def _ready(stage: Stage) -> Stage:
    return stage


async def _measure(legacy_settings: LegacySettings, server: Postgres, broker: Kafka) -> dict[str, float]:
    name = await databases.migrated(server, SCHEMA, postgres.DATABASE)
    await topics.create(TopicsSettings(kafka_bootstrap_servers=broker.bootstrap))
    settings = WorkSettings(**databases.place(server, SCHEMA, name), kafka_bootstrap_servers=broker.bootstrap)
    publisher, producer = Publisher(settings), relay.create_producer(settings)
    await producer.start()
    events = _translated(uuid4())
    await publisher.send(topics.IMPORT_PROGRESS.name, "warm", PlanStarted(import_id=uuid4()))

    async with database.create_pool(settings, SCHEMA, 4, legacy_customers.prepare) as pool:
        applying = Applying(ImportConsumers(settings, pool, Health()), pool)

        async def fresh() -> Stage:
            await _truncate(server)
            return await applying.prepared()

        async def events_waiting() -> Stage:
            await (await fresh())()
            return lambda: _relay(pool, producer)

        rates = {
            "read through ODBC": await _measured(lambda: _ready(lambda: _read(legacy_settings))),
            "translate": await _measured(lambda: _ready(lambda: asyncio.to_thread(_translated, uuid4()))),
            "publish to Kafka": await _measured(lambda: _ready(lambda: _publish(publisher, events))),
            "apply, all new": await _measured(fresh),
            "apply, all unchanged": await _measured(applying.prepared),
            "send the customers' events": await _measured(events_waiting),
        }
    await publisher.close()
    await producer.stop()
    return rates


async def _truncate(server: Postgres) -> None:
    connection = await asyncpg.connect(server.dsn_of(postgres.DATABASE), server_settings={"search_path": "customers"})
    await connection.execute("TRUNCATE phones, firstnames, customers, legacy_customers, outbox")
    await connection.close()


async def _main() -> None:
    logs.configure("ERROR")
    processes.end_with_make()
    with leftovers.folder("vapteke-bench-") as folder, _legacy_settings() as legacy_settings:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(postgres.serve(folder / "postgres"))
            broker = await stack.enter_async_context(kafka.serve(folder / "kafka"))
            rates = await _measure(legacy_settings, server, broker)
    table = Table("stage", "rows/s", title=f"{ROWS:,} rows, median of {RUNS}", title_justify="left")
    for stage, rate in rates.items():
        table.add_row(stage, f"{rate:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(_main())
