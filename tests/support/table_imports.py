"""Imports of a made-up table, one after the other, as the consumers and the sweeper do them."""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

import asyncpg
from customers_api.imports import gone_rows, progress, row_imports
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.fields import TableKind
from customers_api.imports.gone_rows import Deletions
from customers_api.imports.sweeper import Sweeper
from legacy_events import CLUSTER, Attempt, records, start_import
from vapteke_shared.contract.events.event import Event
from vapteke_shared.process.health import Health

ALL = range(1, 101)
BOUNDS = (50, 100)


def phone(legacy_id: int) -> str:
    return f"7902516{legacy_id % 10_000:04}"


class TableImports:
    """Imports of a table in which these rows are, one after the other."""

    def __init__(self, pool: asyncpg.Pool, consumers: ImportConsumers) -> None:
        self._pool, self._consumers, self._offset = pool, consumers, 0

    async def run(
        self,
        rows: Iterable[int],
        deletions: Deletions = gone_rows.REPORT,
        *,
        bounds: Collection[int] = BOUNDS,
        rejected: Collection[int] = (),
        changed: Collection[int] = (),
        phones: Mapping[int, str] | None = None,
        kind: TableKind = "full",
        columns: dict[str, str] | None = None,
    ) -> asyncpg.Record:
        """Returns the job. Approved deletions are done. `changed` rows have another last name."""
        import_id = await start_import(
            self._pool, bounds, kind=kind, row_count=len(list(rows)) or None, columns=columns
        )
        await self.read(import_id, rows, rejected, changed, phones)
        return await self.end(import_id, deletions)

    async def start_rows(self, *legacy_ids: int) -> UUID:
        """Start an import of kind `rows`."""
        async with self._pool.acquire() as connection:
            return await row_imports.start(connection, row_imports.by_legacy_ids(legacy_ids), "tester")

    async def read(
        self,
        import_id: UUID,
        rows: Iterable[int],
        rejected: Collection[int] = (),
        changed: Collection[int] = (),
        phones: Mapping[int, str] | None = None,
        *,
        published: bool = True,
    ) -> None:
        """Read each range, or the single rows, in one attempt. Without `published`, these attempts end too early."""
        ranges = await self._pool.fetch(_RANGES, import_id)
        for each in ranges:
            attempt = Attempt(import_id, each["chunk"], number=each["number"])
            above = [row for row in rows if each["after_id"] is None or row > each["after_id"]]
            found = [row for row in above if row <= each["upto_id"] and row in (each["legacy_ids"] or above)]
            events = [
                attempt.rejected(row)
                if row in rejected
                else attempt.read(
                    row, (phones or {}).get(row, phone(row)), lastname="Другая" if row in changed else "Первая"
                )
                for row in found
            ]
            await self.apply(*events)
            if published:
                await self._publish(attempt, len(events))

    async def _publish(self, attempt: Attempt, count: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            event = attempt.published(count, {0: self._offset - 1} if count else {})
            assert await progress.range_published(connection, event, 8) is None

    @property
    def last_offset(self) -> int:
        """Of the last event that was applied."""
        return self._offset - 1

    async def apply(self, *events: Event) -> None:
        """Apply these events, as the next that Kafka delivers."""
        await self._consumers.apply_legacy(records(events, self._offset), CLUSTER, {})
        self._offset += len(events)

    async def end(self, import_id: UUID, deletions: Deletions = gone_rows.REPORT) -> asyncpg.Record:
        async with self._pool.acquire() as connection:
            await Sweeper(self._pool, Health(), 900, deletions=deletions).sweep(connection)
            while await gone_rows.delete_next(connection):
                pass
        return await self._pool.fetchrow("SELECT * FROM imports WHERE id = $1", import_id)


_RANGES = """
SELECT c.*, (
    SELECT array_agg(r.legacy_id) FROM import_rows r WHERE (r.import_id, r.chunk) = (c.import_id, c.chunk)
) AS legacy_ids
FROM import_chunks c WHERE c.import_id = $1 AND c.status = 'requested' ORDER BY c.chunk
"""
