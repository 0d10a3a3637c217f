"""Checks that the legacy table fits the settings."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from legacy_importer import column_types, legacy
from legacy_importer.columns import INTEGERS
from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import LegacyMisconfigured
from legacy_importer.settings import LegacySettings


class Column(NamedTuple):
    """The SQL Server type of a column, in lower case, and whether it may be null."""

    type: str
    nullable: bool


async def check(connection: Connection, settings: LegacySettings) -> list[str]:
    """Check that the table exists, has a readable column for each of our fields, and has a unique key.

    Returns warnings for operators. Raises LegacyMisconfigured for the first of these checks that fails; the text names
    all columns that fail this check. Raises other LegacyErrors when vAptekeSync cannot be read.
    """
    columns = await find_columns(connection, settings)
    check_columns(columns, settings)
    return await check_key(connection, settings, columns)


async def find_columns(connection: Connection, settings: LegacySettings) -> dict[str, Column]:
    """The columns of the table that the user may see, by name in lower case.

    Raises LegacyMisconfigured if there is no such table, and other LegacyErrors.
    """
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    rows = await connection.fetch(column_types.COLUMNS, *names)
    if not rows:
        raise await _no_table(connection, settings, ".".join(names))
    return {name.casefold(): Column(kind.casefold(), nullable.casefold() == "yes") for name, kind, nullable in rows}


def check_columns(columns: Mapping[str, Column], settings: LegacySettings) -> None:
    """Check that each of our fields has a column of a type from which it can be read. Raises LegacyMisconfigured."""
    table, key = f"{settings.vaptekesync_schema}.{settings.vaptekesync_table}", settings.vaptekesync_columns.id
    missing = [name for name in settings.vaptekesync_columns.model_dump().values() if name.casefold() not in columns]
    if missing:
        raise LegacyMisconfigured(
            f"table {table} has no column {', '.join(missing)}, or the user has no right to read it: "
            "check VAPTEKESYNC_COLUMNS, or grant SELECT on it to VAPTEKESYNC_USER"
        )
    kind = columns[key.casefold()].type
    if kind not in INTEGERS:
        raise LegacyMisconfigured(f"key {key} of {table} is of type {kind}; it must be one of {', '.join(INTEGERS)}")
    column_types.check({name: column.type for name, column in columns.items()}, settings)


async def _no_table(connection: Connection, settings: LegacySettings, table: str) -> LegacyMisconfigured:
    for (target,) in await connection.fetch(_SYNONYM, legacy.table_name(settings)):
        return LegacyMisconfigured(
            f"{table} is a synonym: set VAPTEKESYNC_SCHEMA and VAPTEKESYNC_TABLE to the table it stands for, {target}, "
            "or to a view of that table if it is in another database"
        )
    return LegacyMisconfigured(
        f"table {table} does not exist, or the user has no right to read it: "
        "check VAPTEKESYNC_SCHEMA, VAPTEKESYNC_TABLE and VAPTEKESYNC_DB"
    )


async def check_key(connection: Connection, settings: LegacySettings, columns: Mapping[str, Column]) -> list[str]:
    """Check that the key is unique and never null. The key must be in `columns`.

    Returns warnings for operators, and raises the same errors as `check`.
    """
    key, name = settings.vaptekesync_columns.id, legacy.table_name(settings)
    may_be_null = columns[key.casefold()].nullable
    table = f"{settings.vaptekesync_schema}.{settings.vaptekesync_table}"
    if not may_be_null and _is_unique(key, await connection.fetch(_UNIQUE_INDEXES, name)):
        return []
    if await is_view(connection, settings):
        await _count_keys(connection, settings, table)
        return [f"{table} is a view: its key {key} was checked by counting rows, which is valid for that moment only"]
    if may_be_null:
        raise LegacyMisconfigured(f"key {key} of {table} is nullable: make the column NOT NULL")
    raise LegacyMisconfigured(
        f"key {key} of {table} is not unique: it needs a primary key, unique constraint or unique index of its own "
        "(a filtered or disabled index does not count)"
    )


async def is_view(connection: Connection, settings: LegacySettings) -> bool:
    found = await connection.fetch(_TYPE, legacy.table_name(settings))
    return [tuple(row) for row in found] == [("VIEW",)]


async def _count_keys(connection: Connection, settings: LegacySettings, view: str) -> None:
    counts, key = await legacy.count_keys(connection, settings), settings.vaptekesync_columns.id
    if counts.with_key < counts.rows:
        raise LegacyMisconfigured(f"key {key} of the view {view} is null in {counts.rows - counts.with_key} rows")
    if counts.different < counts.rows:
        raise LegacyMisconfigured(
            f"key {key} of the view {view} is not unique: {counts.rows} rows have {counts.different} different keys"
        )


_UNIQUE_INDEXES = (
    "SELECT i.name, c.name FROM sys.indexes AS i "
    "JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id "
    "JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id "
    "WHERE i.object_id = OBJECT_ID(?) AND i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0 "
    "AND i.is_hypothetical = 0 AND k.key_ordinal > 0"
)
_TYPE = "SELECT type_desc FROM sys.objects WHERE object_id = OBJECT_ID(?)"
_SYNONYM = "SELECT base_object_name FROM sys.synonyms WHERE object_id = OBJECT_ID(?)"


def _is_unique(key: str, indexes: Iterable[Any]) -> bool:
    columns: dict[str, list[str]] = {}
    for name, column in indexes:
        columns.setdefault(name, []).append(column.casefold())
    return [key.casefold()] in columns.values()
