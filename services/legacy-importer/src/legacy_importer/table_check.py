"""Checks that the legacy table fits the settings."""

from collections.abc import Iterable
from typing import Any

from legacy_importer import column_types, legacy
from legacy_importer.columns import INTEGERS
from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import LegacyMisconfigured
from legacy_importer.settings import LegacySettings


async def check(connection: Connection, settings: LegacySettings) -> list[str]:
    """Check that the table exists, has a readable column for each of our fields, and has a unique key.

    Returns warnings for operators. Raises LegacyMisconfigured for the first of these checks that fails; the text names
    all columns that fail this check. Raises other LegacyErrors when vAptekeSync cannot be read.
    """
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    table = ".".join(names)
    found = {row[0].casefold(): (row[1], row[2]) for row in await connection.fetch(column_types.COLUMNS, *names)}
    if not found:
        raise await _no_table(connection, settings, table)
    missing = [name for name in settings.vaptekesync_columns.model_dump().values() if name.casefold() not in found]
    if missing:
        raise LegacyMisconfigured(
            f"table {table} has no column {', '.join(missing)}, or the user has no right to read it: "
            "check VAPTEKESYNC_COLUMNS, or grant SELECT on it to VAPTEKESYNC_USER"
        )
    key = settings.vaptekesync_columns.id
    kind, nullable = found[key.casefold()]
    if kind.casefold() not in INTEGERS:
        raise LegacyMisconfigured(f"key {key} of {table} is of type {kind}; it must be one of {', '.join(INTEGERS)}")
    column_types.check({name: kind.casefold() for name, (kind, _) in found.items()}, settings)
    return await _check_key(connection, settings, may_be_null=nullable.casefold() == "yes")


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


async def _check_key(connection: Connection, settings: LegacySettings, *, may_be_null: bool) -> list[str]:
    key, name = settings.vaptekesync_columns.id, legacy.table_name(settings)
    table = f"{settings.vaptekesync_schema}.{settings.vaptekesync_table}"
    if not may_be_null and _is_unique(key, await connection.fetch(_UNIQUE_INDEXES, name)):
        return []
    if [tuple(row) for row in await connection.fetch(_TYPE, name)] == [("VIEW",)]:
        await _count_keys(connection, settings, table)
        return [f"{table} is a view: its key {key} was checked by counting rows, which is valid for that moment only"]
    if may_be_null:
        raise LegacyMisconfigured(f"key {key} of {table} is nullable: make the column NOT NULL")
    raise LegacyMisconfigured(
        f"key {key} of {table} is not unique: it needs a primary key, unique constraint or unique index of its own "
        "(a filtered or disabled index does not count)"
    )


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
