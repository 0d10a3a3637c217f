"""Imports of the same made-up rows, again and again, as `customers-api work` applies them: without Kafka."""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import databases
import msgspec
from aiokafka import ConsumerRecord
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from legacy_events import CLUSTER, end_import, record, start_import
from legacy_importer import translate
from legacy_importer.settings import Genders
from legacy_importer.translate import Context, CustomerOrRejection, LegacyRow
from vapteke_local.servers import postgres
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.event import Event
from vapteke_shared.postgres import pools
from vapteke_shared.process.health import Health

BATCH = 5_000  # the default of IMPORT_BATCH_ROWS

Stage = Callable[[], Awaitable[int]]
"""Does the work once, and returns how many rows that were."""


class LegacyImports:
    """Each import gets all events, spread over the partitions of the topic as Kafka does."""

    def __init__(self, settings: WorkSettings, pool: asyncpg.Pool, events: Sequence[Event]) -> None:
        self._consumers, self._pool, self._events = ImportConsumers(settings, pool, Health()), pool, events
        self._next_offsets = [0] * topics.LEGACY_CUSTOMERS.partitions

    async def prepare(self, outcome: str) -> Stage:
        """Start an import in which every row that is not rejected is `created`, or every one `unchanged`."""
        await end_import(self._pool)
        import_id = await start_import(self._pool)
        number = await self._pool.fetchval("SELECT number FROM import_chunks WHERE import_id = $1", import_id)
        ids = {"import_id": import_id, "attempt": uuid4(), "number": number}
        batches = list(self._batches([msgspec.structs.replace(event, **ids) for event in self._events]))
        return partial(self._apply, import_id, batches, outcome)

    def _batches(self, events: Sequence[Event]) -> Iterator[list[ConsumerRecord]]:
        """As the consumer gets them: the records of one partition after those of another."""
        for start in range(0, len(events), BATCH):
            records = [self._record(event) for event in events[start : start + BATCH]]
            yield sorted(records, key=lambda each: each.partition)

    def _record(self, event: Event) -> ConsumerRecord:
        partition = zlib.crc32(str(event.legacy_id).encode()) % len(self._next_offsets)
        self._next_offsets[partition] += 1
        return record(event, self._next_offsets[partition] - 1, partition)

    async def _apply(self, import_id: UUID, batches: Sequence[Sequence[ConsumerRecord]], outcome: str) -> int:
        reached = {}
        for batch in batches:
            await self._consumers.apply_legacy(batch, CLUSTER, reached)
        count: int = await self._pool.fetchval(
            f"SELECT coalesce(sum({outcome} + rejected), 0)::int FROM import_counts WHERE import_id = $1", import_id
        )
        if count != len(self._events):
            raise SystemExit(
                f"only {count} of {len(self._events)} rows are {outcome} or rejected: the import applies something else"
            )
        return count


def context() -> Context:
    """In which a row is translated, of no import."""
    genders = translate.spellings({"M": Genders().M, "F": Genders().F})
    return Context(uuid4(), 0, uuid4(), datetime.now(UTC), ZoneInfo("UTC"), genders, 1)


def translated(rows: Iterable[LegacyRow]) -> list[CustomerOrRejection]:
    return translate.to_events(list(rows), context())


@asynccontextmanager
async def opened(server: Postgres, kafka: str = "127.0.0.1:9092") -> AsyncIterator[tuple[WorkSettings, asyncpg.Pool]]:
    """A migrated database, and the pool of `customers-api work`. Kafka need not run."""
    name = await databases.migrated(server, SCHEMA, postgres.DATABASE)
    settings = WorkSettings(**databases.place(server, SCHEMA, name), kafka_bootstrap_servers=kafka)
    async with pools.create_pool(settings, SCHEMA, 8) as pool:
        yield settings, pool


async def superuser(server: Postgres) -> asyncpg.Connection:
    return await asyncpg.connect(server.dsn_of(postgres.DATABASE), server_settings={"search_path": "customers"})


async def empty(connection: asyncpg.Connection) -> None:
    await connection.execute("TRUNCATE phones, firstnames, customers, legacy_customers, outbox")
