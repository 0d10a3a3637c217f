"""The SQL that only the doctor sends. It only reads."""

from datetime import date
from typing import NamedTuple

from legacy_importer import legacy
from legacy_importer.column_types import quoted
from legacy_importer.connection import Connection
from legacy_importer.settings import LegacySettings

_LATEST_LOCAL_TIME = 15
"""Hours ahead of UTC. No time zone is that far ahead, so a later local time is a mistake in one row."""


class TextColumn(NamedTuple):
    """The size of a text column in characters, negative for `max`, and its collation. Both None for other columns."""

    size: int | None
    collation: str | None


async def text_columns(connection: Connection, settings: LegacySettings) -> dict[str, TextColumn]:
    """Size and collation of the columns of the table, by name in lower case. Raises LegacyError."""
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    return {name.casefold(): TextColumn(*rest) for name, *rest in await connection.fetch(_SIZES, *names)}


async def permissions(connection: Connection, settings: LegacySettings) -> set[str]:
    """What the user may do with the whole table, such as SELECT. Empty: the server does not say. Raises LegacyError."""
    return {row[0] for row in await connection.fetch(_PERMISSIONS, legacy.table_name(settings))}


async def has_text(connection: Connection, settings: LegacySettings, column: str, key: int, text: str) -> bool:
    """Whether the server finds this text in the column of the row with this key. Raises LegacyError."""
    rows = await connection.fetch(
        f"SELECT COUNT_BIG(*) FROM {legacy.table_name(settings)} WHERE {quoted(settings.vaptekesync_columns.id)} = ? "
        f"AND CAST({quoted(column)} AS nvarchar(4000)) = ?",
        key,
        text,
    )
    return [tuple(row) for row in rows] == [(1,)]


async def newest(connection: Connection, settings: LegacySettings) -> date | None:
    """The newest last sign-in as it is stored, without those far in the future. None if there is none.

    The column must be of a date type without an offset. Raises LegacyError.
    """
    column = quoted(settings.vaptekesync_columns.last_auth_at)
    [[value]] = await connection.fetch(
        f"SELECT MAX({column}) FROM {legacy.table_name(settings)} "
        f"WHERE {column} <= DATEADD(hour, {_LATEST_LOCAL_TIME}, SYSUTCDATETIME())"
    )
    return value  # type: ignore[no-any-return]


_SIZES = (
    "SELECT COLUMN_NAME, CHARACTER_MAXIMUM_LENGTH, COLLATION_NAME FROM INFORMATION_SCHEMA.COLUMNS "
    "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)
_PERMISSIONS = "SELECT permission_name FROM fn_my_permissions(?, 'OBJECT') WHERE subentity_name = ''"
