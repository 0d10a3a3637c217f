"""The SQL that reads vAptekeSync: plain T-SQL for SQL Server 2012 and later, without lock hints. It only reads."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple

from vapteke_shared.process import logs

from legacy_importer import column_types, fingerprints
from legacy_importer.column_types import quoted
from legacy_importer.connection import Connection
from legacy_importer.fingerprints import Method
from legacy_importer.legacy_errors import LegacyMisconfigured, UnreadableValue
from legacy_importer.settings import LegacySettings
from legacy_importer.translate import LegacyRow, UnreadableRow

_MAX_STATEMENTS = 2_000
"""How many SELECTs the search for the unreadable rows of one range may take.

This is enough for about 140 scattered rows in 10,000, or 900 adjacent ones.
"""
_LOCK_SECONDS = 2

log = logs.get(__name__)

Pages = AsyncGenerator[Iterable[LegacyRow | UnreadableRow]]


class Plan(NamedTuple):
    """The number of rows, and the last key of each key range in ascending order. An empty table has no ranges."""

    row_count: int
    upper_bounds: list[int]


async def plan(
    connection: Connection, settings: LegacySettings, rows_per_range: int, after_id: int | None = None
) -> Plan:
    """Divide the table into key ranges of `rows_per_range` rows, in one scan of the key's index. Raises LegacyError.

    With `after_id`, only the rows with a greater key. The last range may have fewer rows. Call `table_check.check`
    before: the keys must be unique and not null.
    """
    key, table = quoted(settings.vaptekesync_columns.id), _table(settings)
    where = f" WHERE {key} > ?"
    rows = await connection.fetch(
        f"SELECT k, n FROM (SELECT {key} AS k, ROW_NUMBER() OVER (ORDER BY {key}) AS n, "
        f"LEAD({key}) OVER (ORDER BY {key}) AS following FROM {table}{'' if after_id is None else where}) AS numbered "
        f"WHERE n % {rows_per_range:d} = 0 OR following IS NULL ORDER BY k",
        *(() if after_id is None else (after_id,)),
    )
    return Plan(rows[-1][1] if rows else 0, [row[0] for row in rows])


class KeyRange(NamedTuple):
    """The rows with `after_id` < key <= `upto_id`; None: without a lower bound. `chunk` is the number of the range."""

    chunk: int
    after_id: int | None
    upto_id: int


async def give_up_locks_early(connection: Connection) -> None:
    """Let later statements on this connection raise RowsLocked when they have waited `_LOCK_SECONDS` for a lock.

    Without this, they wait until the deadline of MSSQL_TIMEOUT ends the connection.
    """
    await connection.execute(f"SET LOCK_TIMEOUT {_LOCK_SECONDS * 1000:d}")


async def fingerprints_of(
    connection: Connection, settings: LegacySettings, method: Method, ranges: Sequence[KeyRange]
) -> dict[int, str]:
    """The fingerprints of all these ranges, by the number of the range, in one statement. Raises LegacyError.

    Each range needs two parameters, and SQL Server takes up to 2,100 of them.
    """
    sums = f"COUNT_BIG(*), SUM(CAST({method.expression} AS decimal(38, 0))) FROM {_table(settings)}"
    bounds = [_bounds(settings, each.after_id, each.upto_id) for each in ranges]
    rows = await connection.fetch(
        " UNION ALL ".join(
            f"SELECT {each.chunk:d}, {sums} WHERE {where}" for each, (where, _) in zip(ranges, bounds, strict=True)
        ),
        *(parameter for _, parameters in bounds for parameter in parameters),
    )
    return {chunk: fingerprints.of_range(count, int(total or 0)) for chunk, count, total in rows}


def _bounds(settings: LegacySettings, after_id: int | None, upto_id: int) -> tuple[str, tuple[int, ...]]:
    key = quoted(settings.vaptekesync_columns.id)
    return (f"{key} <= ?", (upto_id,)) if after_id is None else (f"{key} > ? AND {key} <= ?", (after_id, upto_id))


class KeyCounts(NamedTuple):
    """The number of rows, of rows whose key is not null, and of different keys; null is not counted as a key."""

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
    """Check that the table can be read: select the columns of all our fields, but no row. Raises LegacyError if not."""
    selection = _Selection(connection, settings, await fingerprint_method(connection, settings))
    async with aclosing(selection.pages(0, 0)) as pages:
        async for _ in pages:
            raise AssertionError("no key is above 0 and at most 0")


async def clock(connection: Connection) -> datetime:
    """The server's current time, in UTC. Raises LegacyError.

    Call this before reading rows. Each row is then read as it was at this time or later.
    """
    [[now]] = await connection.fetch("SELECT SYSUTCDATETIME()")
    return now.replace(tzinfo=UTC)  # type: ignore[no-any-return]


def read_rows(connection: Connection, settings: LegacySettings, ids: Sequence[int], method: Method) -> Pages:
    """Yield those of the rows with these 1 to 2,000 keys that exist, like `read_range`.

    One statement reads them all, unless one of them cannot be selected.
    """
    return read_range(connection, settings, None, max(ids), method, ids)


async def read_range(
    connection: Connection,
    settings: LegacySettings,
    after_id: int | None,
    upto_id: int,
    method: Method | None = None,
    ids: Sequence[int] = (),
) -> Pages:
    """Yield the rows with `after_id` < key <= `upto_id` in pages, ordered by key, with their fingerprints.

    `method` is a result of `fingerprint_method`; with None, read_range calls it. Without an `after_id` there is no
    lower bound, and with `ids` only rows with these keys. A row that cannot be selected is yielded as an UnreadableRow.
    Each page is an iterator, so it can be read only once. Raises LegacyError, perhaps after some pages. Close the
    generator when you stop early.
    """
    selection = _Selection(connection, settings, method or await fingerprint_method(connection, settings), ids)
    try:
        async with aclosing(selection.pages(after_id, upto_id)) as pages:
            async for page in pages:
                after_id = page[-1][0]
                yield map(LegacyRow._make, page)
        return
    except UnreadableValue as error:
        log.warning("a range contains a row that cannot be selected", upto_id=upto_id, error=str(error))
    async with aclosing(selection.pages_around_unreadable_rows(after_id, upto_id)) as parts:
        async for part in parts:
            yield part


async def fingerprint_method(connection: Connection, settings: LegacySettings) -> Method:
    """How this table's rows are selected with their fingerprints, and the basis of these. Raises LegacyError."""
    identity = await connection.fetch(fingerprints.IDENTITY, _table(settings))
    types = await column_types.types(connection, settings)
    return fingerprints.method(types, identity[0] if identity else None, settings)


class _Selection:
    """Selects rows of the table by key: those of a key range or, if there are `ids`, only those of these keys in it."""

    def __init__(
        self, connection: Connection, settings: LegacySettings, method: Method, ids: Sequence[int] = ()
    ) -> None:
        self._connection, self._settings, self._select_list = connection, settings, method.select_list
        self._ids = ids
        self._key, self._table = quoted(settings.vaptekesync_columns.id), _table(settings)

    async def pages(self, after_id: int | None, upto_id: int) -> AsyncGenerator[Sequence[Any]]:
        try:
            async with aclosing(self._select(self._select_list, after_id, upto_id)) as pages:
                async for page in pages:
                    after_id = page[-1][0]
                    yield page
            return
        except UnicodeDecodeError:  # an unpaired surrogate: the driver drops the whole page for it
            await self._connection.accept_unpaired_surrogates()
        async with aclosing(self._select(self._select_list, after_id, upto_id)) as pages:
            async for page in pages:
                yield page

    async def pages_around_unreadable_rows(
        self, after_id: int | None, upto_id: int
    ) -> AsyncGenerator[Iterable[LegacyRow | UnreadableRow]]:
        """Yield the rows of the range, with an UnreadableRow in place of each row that cannot be selected.

        To find such a row, a range whose SELECT fails is halved until one row is left. Raises LegacyMisconfigured when
        this takes more than `_MAX_STATEMENTS` SELECTs, and other LegacyErrors.
        """
        keys = await self._keys(after_id, upto_id)
        pending, statements = [(0, len(keys))] if keys else [], 0
        while pending:
            start, end = pending.pop()
            statements += 1
            if statements > _MAX_STATEMENTS:
                raise LegacyMisconfigured(
                    f"too many rows of {self._table} up to key {upto_id} cannot be selected: check how the columns of "
                    "VAPTEKESYNC_COLUMNS are computed"
                )
            try:
                rows = await self._rows(keys[start - 1] if start else after_id, keys[end - 1])
            except UnreadableValue:
                if end - start == 1:
                    yield [UnreadableRow(keys[start])]
                else:
                    middle = (start + end) // 2
                    pending += [(middle, end), (start, middle)]
            else:
                yield map(LegacyRow._make, rows)

    async def _rows(self, after_id: int | None, upto_id: int) -> list[Any]:
        async with aclosing(self.pages(after_id, upto_id)) as pages:
            return [row async for page in pages for row in page]

    async def _keys(self, after_id: int | None, upto_id: int) -> list[int]:
        async with aclosing(self._select(self._key, after_id, upto_id)) as pages:
            return [row[0] async for page in pages for row in page]

    def _select(self, columns: str, after_id: int | None, upto_id: int) -> AsyncGenerator[Sequence[Any]]:
        bounds, parameters = _bounds(self._settings, after_id, upto_id)
        if self._ids:  # alone: beside bounds, SQL Server might read the whole range
            parameters = tuple(each for each in self._ids if (after_id is None or after_id < each) and each <= upto_id)
            bounds = f"{self._key} IN ({', '.join('?' * len(parameters))})"
        return self._connection.pages(
            f"SELECT {columns} FROM {self._table} WHERE {bounds} ORDER BY {self._key}", *parameters
        )


def table_name(settings: LegacySettings) -> str:
    """The quoted schema and table, in the form that OBJECT_ID expects."""
    return _table(settings)


def _table(settings: LegacySettings) -> str:
    return f"{quoted(settings.vaptekesync_schema)}.{quoted(settings.vaptekesync_table)}"
