"""The oldest rows of the outbox, which the relay reads, sends and deletes."""

from collections.abc import Sequence

import asyncpg

BATCH_ROWS = 5_000
_BATCH_BYTES = 8 * 1024 * 1024


class OldestRows:
    """Reads and deletes the oldest rows of the outbox, on the connection that holds the relay's lock.

    After `read`, send the rows and call `delete`. Rows that are not deleted are read again by the next `read`.

    No row below the id `_floor` is left and none can appear, so reading starts there. That matters while a long
    snapshot, such as a backup, keeps the index entries of deleted rows: skipping a million entries takes a second.

    Ids are assigned in ascending order, but the rows become visible in any order. A transaction that writes rows locks
    the table before it gets its first id, and holds this lock until it ends. So once an id has been read, and all
    transactions that held the lock after that have ended, every row up to that id is visible.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._floor = self._last = self._visible = self._next_visible = 0
        self._writers: set[str] = set()
        self._whole = True
        self.more_may_wait = False
        """Whether the last `read` stopped at a limit of the batch: its rows or its bytes."""

    async def read(self, without: Sequence[str] = ()) -> Sequence[asyncpg.Record]:
        """Read one batch of the oldest rows, except those of the topics `without`.

        A batch has at most BATCH_ROWS rows, and about `_BATCH_BYTES` of values; it is empty if no row waits. Sets
        `more_may_wait`. The batch is read in one statement: with two, it could have a later row of a key without an
        earlier one.
        """
        await self._advance_visible()
        self._whole = not without
        rows: Sequence[asyncpg.Record] = await self._connection.fetch(
            _READ, self._floor, without, BATCH_ROWS, _BATCH_BYTES
        )
        self.more_may_wait = len(rows) == BATCH_ROWS or sum(len(row["value"] or b"") for row in rows) >= _BATCH_BYTES
        self._last = max(self._last, rows[-1]["id"] if rows else 0)
        if not rows and self._whole:
            self._floor = self._visible + 1
        return rows

    async def delete(self, rows: Sequence[asyncpg.Record]) -> None:
        """Delete these rows, which must be exactly those that the last `read` returned, and at least one."""
        await self._connection.execute(_DELETE, [row["id"] for row in rows])
        if self._whole:
            self._floor = min(self._visible, rows[-1]["id"]) + 1

    async def _advance_visible(self) -> None:
        if self._last < self._floor:
            return
        writers = {row["virtualtransaction"] for row in await self._connection.fetch(_WRITERS)}
        if self._writers.isdisjoint(writers):
            self._visible, self._next_visible, self._writers = self._next_visible, self._last, writers


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
