"""The SQL Server types of the legacy table's columns: reads the types, checks them and builds the select list."""

from collections.abc import Mapping
from typing import Final

from legacy_importer.columns import ALLOWED_TYPES, TEXTS
from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import LegacyMisconfigured
from legacy_importer.settings import LegacySettings


async def types(connection: Connection, settings: LegacySettings) -> dict[str, str]:
    """The SQL Server type, in lower case, of each column of the legacy table, by column name.

    Empty if the table does not exist or the user cannot see it. Raises LegacyError.
    """
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    return {column: kind.casefold() for column, kind, _ in await connection.fetch(COLUMNS, *names)}


def check(types: Mapping[str, str], settings: LegacySettings) -> None:
    """Check that each of our fields can be read from the type of its column.

    `types` has lower-case names and types. A column that is not in it passes: `table_check.check` finds missing
    columns. Raises LegacyMisconfigured, whose text names every mismatch.
    """
    fields = [(*pair, ALLOWED_TYPES[pair[0]]) for pair in settings.vaptekesync_columns.model_dump().items()]
    faults = [
        f"column {column} is of type {types[column.casefold()]}; {field} can be read from {', '.join(allowed)}"
        for field, column, allowed in fields
        if types.get(column.casefold(), allowed[0]) not in allowed
    ]
    if faults:
        table = f"{settings.vaptekesync_schema}.{settings.vaptekesync_table}"
        raise LegacyMisconfigured(f"table {table} does not fit VAPTEKESYNC_COLUMNS: {'. '.join(faults)}")


def select_list(types: Mapping[str, str], settings: LegacySettings) -> str:
    """The columns of the legacy table, one for each field of LegacyRow before the fingerprint, in the same order.

    Columns of text types are cast to nvarchar, which cuts texts at 4,000 characters, and datetimeoffset columns are
    converted to text. A column that is not in `types`, which has lower-case names, is selected as it is.
    """
    columns = settings.vaptekesync_columns.model_dump().values()
    return ", ".join(_converted(quoted(column), types.get(column.casefold(), "")) for column in columns)


def described(types: Mapping[str, str], settings: LegacySettings) -> dict[str, str]:
    """By field: the column from which it is read and its type, such as `Birthday (date)`.

    `types` is as in `select_list`.
    """
    columns = settings.vaptekesync_columns.model_dump().items()
    return {field: f"{column} ({types.get(column.casefold(), 'unknown')})" for field, column in columns}


def _converted(column: str, kind: str) -> str:
    if kind in TEXTS:  # without it, a CP1251 varchar would arrive as question marks
        return f"CAST({column} AS nvarchar(4000))"
    if kind == "datetimeoffset":  # pyodbc does not support this type
        return f"CONVERT(nvarchar(40), {column}, 126)"
    return column


def quoted(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


COLUMNS: Final = (
    "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS "
    "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)
