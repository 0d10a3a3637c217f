"""The real customers-api on Postgres, as the histories of `import_histories.py` use it."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from customers_api.customers import restorations
from customers_api.customers import writes as customer_writes
from customers_api.customers.queries import CustomerNotFound
from customers_api.imports import gone_rows, row_imports, writes
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.gone_rows import Deletions, TooManyDeletions
from customers_api.imports.state import CLASSES
from customers_api.imports.sweeper import Sweeper
from customers_api.imports.tables import UNFINISHED
from legacy_events import CLUSTER, record, records
from simulated_legacy import DAY
from simulated_state import LIMIT, Ended, LegacyEvent, Task, View
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.imports import Planned, RangePublished
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRejected
from vapteke_shared.process.health import Health

ROWS_PER_RANGE = 2
_HOURS = 25


class PostgresCustomersApi:
    """Call `begin` first. With `applies_deletions`, customers of gone rows are deleted."""

    def __init__(self, pool: asyncpg.Pool, consumers: ImportConsumers, applies_deletions: bool) -> None:
        self._pool, self._consumers = pool, consumers
        self._deletions = Deletions("apply" if applies_deletions else "report", LIMIT, 0)
        self._sweeper = Sweeper(pool, Health(), 900, deletions=self._deletions, rows_per_range=ROWS_PER_RANGE)
        self._seen_task = self._day = self._progress = 0
        self._offsets: dict[int, int] = {}
        self._seen_ended = set[UUID]()

    async def begin(self, joined: Collection[int]) -> None:
        """The API has created the customers whom these rows will join."""
        for key in joined:
            async with self._pool.acquire() as connection:
                await customer_writes.create(connection, f"7902516{key:04}", {})

    async def tasks(self) -> list[Task]:
        rows = await self._pool.fetch(_TASKS, topics.IMPORT_TASKS.name, self._seen_task)
        self._seen_task = max([row["id"] for row in rows], default=self._seen_task)
        return [_decoded(row) for row in rows]

    async def ended(self) -> list[Ended]:
        rows = [row for row in await self._pool.fetch(_ENDED) if row["id"] not in self._seen_ended]
        self._seen_ended |= {row["id"] for row in rows}
        return [Ended(row["id"], row["kind"], row["status"], frozenset(row["differences"])) for row in rows]

    async def view(self) -> dict[int, View]:
        rows = await self._pool.fetch(_VIEW)
        return {row["legacy_id"]: View(row["lastname"], row["gone_as"], row["deleted"], row["joined"]) for row in rows}

    async def unfinished(self) -> dict[UUID, str]:
        return dict(await self._pool.fetch(_UNFINISHED, [*UNFINISHED, "waiting"]))

    async def request(self, kind: Any) -> None:
        async with self._pool.acquire() as connection:
            await writes.start(connection, ROWS_PER_RANGE, kind=kind)

    async def request_rows(self, keys: Collection[int]) -> None:
        async with self._pool.acquire() as connection:
            await row_imports.start(connection, row_imports.by_legacy_ids(keys), None)

    async def cancel(self, import_id: UUID) -> None:
        async with self._pool.acquire() as connection:
            await writes.cancel(connection, import_id)

    async def progress(self, event: Planned | RangePublished) -> None:
        if isinstance(event, RangePublished) and event.valid_until is not None:
            days_left = (event.valid_until - DAY).days - self._day
            valid_until = datetime.now(UTC) + timedelta(hours=_HOURS * days_left - 1)
            event = msgspec.structs.replace(event, valid_until=valid_until)
        given = record(event, self._progress, topic=topics.IMPORT_PROGRESS.name)
        self._progress += 1
        await self._consumers.apply_progress([given], CLUSTER, {})

    async def apply(self, partition: int, events: Sequence[LegacyEvent], refused: Collection[int]) -> None:
        given = [_refused(event) if event.legacy_id in refused else event for event in events]
        offset = self._offsets.get(partition, 0)
        self._offsets[partition] = offset + len(given)
        await self._consumers.apply_legacy(records(given, offset, partition), CLUSTER, {})

    async def sweep(self) -> None:
        async with self._pool.acquire() as connection:
            await self._sweeper.sweep(connection)

    async def fail(self, import_id: UUID) -> None:
        async with self._pool.acquire() as connection:
            counts = dict.fromkeys(CLASSES, 0)
            await writes.end(connection, import_id, "failed", "no importer has answered", counts, self._deletions)

    async def waiting_for_approval(self) -> dict[UUID, list[int]]:
        return {row[0]: row[1] for row in await self._pool.fetch(_WAITING)}

    async def approve(self, import_id: UUID, count: int) -> None:
        async with self._pool.acquire() as connection:
            with suppress(TooManyDeletions):
                await gone_rows.approve(connection, import_id, count)

    async def to_delete(self) -> list[int]:
        return [row[0] for row in await self._pool.fetch(_APPROVED)]

    async def delete_gone(self, key: int) -> None:
        """Deletes all whose deletion is approved, also those with other keys."""
        async with self._pool.acquire() as connection:
            await gone_rows.delete_next(connection)

    async def api_delete(self, key: int) -> None:
        async with self._pool.acquire() as connection:
            with suppress(CustomerNotFound):
                await customer_writes.delete(connection, await connection.fetchval(_CUSTOMER, key))

    async def api_restore(self, key: int) -> None:
        async with self._pool.acquire() as connection:
            await restorations.restore(connection, await connection.fetchval(_CUSTOMER, key))

    async def next_day(self) -> None:
        """Whatever has happened or will happen does so a day and an hour earlier."""
        self._day += 1
        for table, column in _INSTANTS:
            await self._pool.execute(f"UPDATE {table} SET {column} = {column} - interval '{_HOURS} hours'")


def _decoded(row: asyncpg.Record) -> Any:
    headers = msgspec.json.decode(row["headers"])
    return codec.decode(row["value"], [(name, str(value).encode()) for name, value in headers.items()])


def _refused(event: LegacyEvent) -> LegacyCustomerRejected:
    """As `legacy_batches` replaces an event that the database refuses."""
    names = ("import_id", "chunk", "attempt", "number", "legacy_id", "read_at")
    return LegacyCustomerRejected(**{name: getattr(event, name) for name in names}, reasons={"row": "refused_22001"})


_TASKS = "SELECT id, value, headers FROM outbox WHERE topic = $1 AND id > $2 ORDER BY id"
_ENDED = """
SELECT i.id, i.kind, i.status, ARRAY(
    SELECT d.legacy_id FROM import_differences d
    LEFT JOIN import_chunks c ON (c.import_id, c.chunk, c.attempt) = (d.import_id, d.chunk, d.attempt)
    WHERE d.import_id = i.id AND (d.attempt IS NULL OR c.chunk IS NOT NULL)
        AND d.difference IN ('would_create', 'would_update', 'gone')
) AS differences
FROM imports i WHERE i.finished_at IS NOT NULL ORDER BY i.finished_at
"""
_VIEW = """
SELECT
    m.legacy_id, m.gone_as, m.joined,
    CASE WHEN c.deleted_at IS NOT NULL THEN coalesce(c.deleted_by, 'api') END AS deleted,
    CASE WHEN m.lastname IS DISTINCT FROM c.lastname THEN 'mirror and customer differ' ELSE c.lastname END AS lastname
FROM legacy_customers m JOIN customers c ON c.id = m.customer_id ORDER BY m.legacy_id
"""
_UNFINISHED = "SELECT id, kind FROM imports WHERE status = ANY($1) ORDER BY requested_at, id"
_WAITING = """
SELECT gone_in, array_agg(legacy_id) FROM legacy_customers
WHERE gone_in IS NOT NULL AND gone_as IN ('reported', 'withheld') GROUP BY 1 ORDER BY 1
"""
_APPROVED = "SELECT legacy_id FROM legacy_customers WHERE gone_as = 'approved' ORDER BY legacy_id"
_CUSTOMER = "SELECT customer_id FROM legacy_customers WHERE legacy_id = $1"
_INSTANTS = (("customers", "deleted_at"), ("stored_ranges", "valid_until"), ("import_chunks", "valid_until"))
