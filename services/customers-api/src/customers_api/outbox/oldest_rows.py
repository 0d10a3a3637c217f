"""The oldest rows of the outbox, which the relay reads, sends and deletes."""

from collections.abc import Sequence

import asyncpg

BATCH_ROWS = 5_000
_BATCH_BYTES = 8 * 1024 * 1024


class OldestRows:
    """Reads the oldest rows and deletes them, on the one connection that may.

    Below `_floor` no row is left and none can come, so reading starts there: a long snapshot elsewhere, a backup's say,
    keeps all deleted rows' entries in the index, and stepping over a million of them takes a second.

    Ids are given out in order but become visible in any: a writer takes its table lock before its first id and keeps it
    to its end. So once none of the writers seen after an id was read is left, every row up to that id is visible.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._floor = self._last = self._settled = self._asked_for = 0
        self._writers: set[str] = set()
        self._whole = True

    async def read(self, without: Sequence[str] = ()) -> Sequence[asyncpg.Record]:
        """The oldest rows, but for those of the topics `without`: as many as make a batch, in one statement.

        A second one would see later rows of a key, and not the earlier ones that have come between.
        """
        await self._settle()
        self._whole = not without
        rows: Sequence[asyncpg.Record] = await self._connection.fetch(
            _READ, self._floor, without, BATCH_ROWS, _BATCH_BYTES
        )
        self._last = max(self._last, rows[-1]["id"] if rows else 0)
        if not rows and self._whole:
            self._floor = self._settled + 1
        return rows

    async def delete(self, rows: Sequence[asyncpg.Record]) -> None:
        """Delete exactly these, the rows that were read last."""
        await self._connection.execute(_DELETE, [row["id"] for row in rows])
        if self._whole:
            self._floor = min(self._settled, rows[-1]["id"]) + 1

    async def _settle(self) -> None:
        if self._last < self._floor:
            return
        writers = {row["virtualtransaction"] for row in await self._connection.fetch(_WRITERS)}
        if self._writers.isdisjoint(writers):
            self._settled, self._asked_for, self._writers = self._asked_for, self._last, writers


_READ = """
SELECT id, topic, key, headers, value FROM (
    SELECT
        id, topic, key, headers, value,
        sum(octet_length(value)) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM outbox WHERE id >= $1 AND topic <> ALL ($2::text[]) ORDER BY id LIMIT $3
) AS oldest
WHERE coalesce(bytes_before, 0) < $4
ORDER BY id
"""
_DELETE = "DELETE FROM outbox WHERE id = ANY ($1)"
_WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE relation = 'outbox'::regclass AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
