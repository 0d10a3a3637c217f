"""The statements that read vAptekeSync: plain T-SQL of SQL Server 2012 that locks and writes nothing."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from legacy_importer.connection import Connection
from legacy_importer.settings import LegacySettings
from legacy_importer.translate import LegacyRow

_AS_TEXT = ("phone", "firstname", "lastname", "email", "gender")


class Plan(NamedTuple):
    """How many rows there are, and the upper bounds of the key ranges, ascending."""

    row_count: int
    upper_bounds: list[int]


async def plan(connection: Connection, settings: LegacySettings, rows_per_range: int) -> Plan:
    """Cut the table into ranges of so many rows, in one scan of the key's index."""
    key, table = _quoted(settings.vaptekesync_columns.id), _table(settings)
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
    key = _quoted(settings.vaptekesync_columns.id)
    [counts] = await connection.fetch(
        f"SELECT COUNT_BIG(*), COUNT_BIG({key}), COUNT_BIG(DISTINCT {key}) FROM {_table(settings)}"
    )
    return KeyCounts(*counts)


async def try_to_read(connection: Connection, settings: LegacySettings) -> None:
    """Read no row, but every column. Raises LegacyError."""
    async with aclosing(_read(connection, settings, 0, 0)) as pages:
        async for _ in pages:
            raise AssertionError("no key is above 0 and at most 0")


async def clock(connection: Connection) -> datetime:
    """The server's own time: what is read after it is at least as new."""
    [[now]] = await connection.fetch("SELECT SYSUTCDATETIME()")
    return now.replace(tzinfo=UTC)  # type: ignore[no-any-return]


async def read_range(
    connection: Connection, settings: LegacySettings, after_id: int | None, upto_id: int
) -> AsyncGenerator[Iterable[LegacyRow]]:
    """The rows with `after_id` < key <= `upto_id` in pages, in the order of the key. Raises LegacyError."""
    try:
        async with aclosing(_read(connection, settings, after_id, upto_id)) as pages:
            async for page in pages:
                after_id = page[-1][0]
                yield map(LegacyRow._make, page)
    except UnicodeDecodeError:  # half a surrogate pair: the driver drops a whole page for it
        await connection.accept_half_characters()
        async with aclosing(_read(connection, settings, after_id, upto_id)) as pages:
            async for page in pages:
                yield map(LegacyRow._make, page)


def _read(
    connection: Connection, settings: LegacySettings, after_id: int | None, upto_id: int
) -> AsyncGenerator[Sequence[Any]]:
    key, table = _quoted(settings.vaptekesync_columns.id), _table(settings)
    columns = ", ".join(_selected(settings))
    bounds = f"{key} <= ?" if after_id is None else f"{key} > ? AND {key} <= ?"
    parameters = (upto_id,) if after_id is None else (after_id, upto_id)
    return connection.pages(f"SELECT {columns} FROM {table} WHERE {bounds} ORDER BY {key}", *parameters)


def _selected(settings: LegacySettings) -> list[str]:
    """Texts are cast: a CP1251 varchar would arrive as question marks."""
    names = settings.vaptekesync_columns.model_dump()
    return [
        f"CAST({_quoted(column)} AS nvarchar(4000))" if field in _AS_TEXT else _quoted(column)
        for field, column in names.items()
    ]


def table_name(settings: LegacySettings) -> str:
    """As OBJECT_ID wants it."""
    return _table(settings)


def _table(settings: LegacySettings) -> str:
    return f"{_quoted(settings.vaptekesync_schema)}.{_quoted(settings.vaptekesync_table)}"


def _quoted(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"
