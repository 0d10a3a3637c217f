"""The statements that read vAptekeSync: plain T-SQL of SQL Server 2012 that locks and writes nothing."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from vapteke_shared.process import logs

from legacy_importer import column_types
from legacy_importer.column_types import quoted
from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import LegacyMisconfigured, UnreadableValue
from legacy_importer.settings import LegacySettings
from legacy_importer.translate import LegacyRow, UnreadableRow

_MOST_STATEMENTS = 2_000
"""That may be spent on finding a range's unreadable rows: of 10,000 some 140 far apart, or 900 side by side."""

log = logs.get(__name__)


class Plan(NamedTuple):
    """How many rows there are, and the upper bounds of the key ranges, ascending."""

    row_count: int
    upper_bounds: list[int]


async def plan(connection: Connection, settings: LegacySettings, rows_per_range: int) -> Plan:
    """Cut the table into ranges of so many rows, in one scan of the key's index."""
    key, table = quoted(settings.vaptekesync_columns.id), _table(settings)
    rows = await connection.fetch(
        f"SELECT k, n FROM (SELECT {key} AS k, ROW_NUMBER() OVER (ORDER BY {key}) AS n, "
        f"LEAD({key}) OVER (ORDER BY {key}) AS following FROM {table}) AS numbered "
        f"WHERE n % {rows_per_range:d} = 0 OR following IS NULL ORDER BY k"
    )
    return Plan(rows[-1][1] if rows else 0, [row[0] for row in rows])


class KeyCounts(NamedTuple):
    """How many rows there are, how many of them have a key, and how many different keys."""

    rows: int
    with_key: int
    different: int


async def count_keys(connection: Connection, settings: LegacySettings) -> KeyCounts:
    key = quoted(settings.vaptekesync_columns.id)
    [counts] = await connection.fetch(
        f"SELECT COUNT_BIG(*), COUNT_BIG({key}), COUNT_BIG(DISTINCT {key}) FROM {_table(settings)}"
    )
    return KeyCounts(*counts)


async def try_to_read(connection: Connection, settings: LegacySettings) -> None:
    """Read no row, but every column. Raises LegacyError."""
    async with aclosing((await _range(connection, settings)).pages(0, 0)) as pages:
        async for _ in pages:
            raise AssertionError("no key is above 0 and at most 0")


async def clock(connection: Connection) -> datetime:
    """The server's own time: what is read after it is at least as new."""
    [[now]] = await connection.fetch("SELECT SYSUTCDATETIME()")
    return now.replace(tzinfo=UTC)  # type: ignore[no-any-return]


async def read_range(
    connection: Connection, settings: LegacySettings, after_id: int | None, upto_id: int
) -> AsyncGenerator[Iterable[LegacyRow | UnreadableRow]]:
    """The rows with `after_id` < key <= `upto_id` in pages, in the order of the key. Raises LegacyError."""
    read = await _range(connection, settings)
    try:
        async with aclosing(read.pages(after_id, upto_id)) as pages:
            async for page in pages:
                after_id = page[-1][0]
                yield map(LegacyRow._make, page)
        return
    except UnreadableValue as error:
        log.warning("a range holds a row that cannot be selected", upto_id=upto_id, error=str(error))
    async with aclosing(read.halved(after_id, upto_id)) as parts:
        async for part in parts:
            yield part


async def _range(connection: Connection, settings: LegacySettings) -> "_Range":
    return _Range(connection, settings, column_types.selected(await column_types.types(connection, settings), settings))


class _Range:
    """Reads rows of the table by their keys."""

    def __init__(self, connection: Connection, settings: LegacySettings, shown: str) -> None:
        self._connection, self._shown = connection, shown
        self._key, self._table = quoted(settings.vaptekesync_columns.id), _table(settings)

    async def pages(self, after_id: int | None, upto_id: int) -> AsyncGenerator[Sequence[Any]]:
        try:
            async with aclosing(self._select(self._shown, after_id, upto_id)) as pages:
                async for page in pages:
                    after_id = page[-1][0]
                    yield page
            return
        except UnicodeDecodeError:  # half a surrogate pair: the driver drops a whole page for it
            await self._connection.accept_half_characters()
        async with aclosing(self._select(self._shown, after_id, upto_id)) as pages:
            async for page in pages:
                yield page

    async def halved(self, after_id: int | None, upto_id: int) -> AsyncGenerator[Iterable[LegacyRow | UnreadableRow]]:
        """As `pages`, with each row that makes its SELECT fail by its key alone: found by halving the keys."""
        keys = await self._keys(after_id, upto_id)
        waiting, statements = [(0, len(keys))] if keys else [], 0
        while waiting:
            start, end = waiting.pop()
            statements += 1
            if statements > _MOST_STATEMENTS:
                raise LegacyMisconfigured(
                    f"too many rows of {self._table} cannot be selected up to key {upto_id}: see what the columns of "
                    "VAPTEKESYNC_COLUMNS are computed from"
                )
            try:
                rows = await self._rows(keys[start - 1] if start else after_id, keys[end - 1])
            except UnreadableValue:
                if end - start == 1:
                    yield [UnreadableRow(keys[start])]
                else:
                    middle = (start + end) // 2
                    waiting += [(middle, end), (start, middle)]
            else:
                yield map(LegacyRow._make, rows)

    async def _rows(self, after_id: int | None, upto_id: int) -> list[Any]:
        async with aclosing(self.pages(after_id, upto_id)) as pages:
            return [row async for page in pages for row in page]

    async def _keys(self, after_id: int | None, upto_id: int) -> list[int]:
        async with aclosing(self._select(self._key, after_id, upto_id)) as pages:
            return [row[0] async for page in pages for row in page]

    def _select(self, shown: str, after_id: int | None, upto_id: int) -> AsyncGenerator[Sequence[Any]]:
        bounds = f"{self._key} <= ?" if after_id is None else f"{self._key} > ? AND {self._key} <= ?"
        parameters = (upto_id,) if after_id is None else (after_id, upto_id)
        return self._connection.pages(
            f"SELECT {shown} FROM {self._table} WHERE {bounds} ORDER BY {self._key}", *parameters
        )


def table_name(settings: LegacySettings) -> str:
    """As OBJECT_ID wants it."""
    return _table(settings)


def _table(settings: LegacySettings) -> str:
    return f"{quoted(settings.vaptekesync_schema)}.{quoted(settings.vaptekesync_table)}"
