"""Which SQL Server types each field can be read from, and how a SELECT converts them."""

from collections.abc import Mapping
from typing import Final

from legacy_importer.connection import Connection
from legacy_importer.legacy_errors import LegacyMisconfigured
from legacy_importer.settings import LegacySettings

INTEGERS: Final = ("tinyint", "smallint", "int", "bigint")
_TEXTS: Final = ("char", "varchar", "nchar", "nvarchar", "text", "ntext")
_DATES: Final = ("date", "smalldatetime", "datetime", "datetime2", "datetimeoffset")
_EXACT: Final = ("decimal", "numeric", "money")
_NUMBERS: Final = (*INTEGERS, *_EXACT, "smallmoney", "float", "real")
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "id": INTEGERS,
    "phone": (*_TEXTS, "bigint", *_EXACT, "float"),  # the other types cannot hold eleven digits
    "firstname": _TEXTS,
    "lastname": _TEXTS,
    "email": _TEXTS,
    "birthday": (*_DATES, *_TEXTS),
    "gender": (*_TEXTS, "bit", *_NUMBERS),
    "city_id": _NUMBERS,
    "last_auth_at": (*_DATES, *_TEXTS),
}


async def types(connection: Connection, settings: LegacySettings) -> dict[str, str]:
    """The type of each column of the legacy table; names and types are in lower case."""
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    rows = await connection.fetch(COLUMNS, *names)
    return {column.casefold(): kind.casefold() for column, kind, _ in rows}


def check(types: Mapping[str, str], settings: LegacySettings) -> None:
    """Check that each field can be read from the type of its column. Raises LegacyMisconfigured with every mismatch."""
    faults = [
        f"column {column} is of type {types[column.casefold()]}; {field} can be read from {', '.join(_ALLOWED[field])}"
        for field, column in settings.vaptekesync_columns.model_dump().items()
        if types.get(column.casefold(), _ALLOWED[field][0]) not in _ALLOWED[field]
    ]
    if faults:
        table = f"{settings.vaptekesync_schema}.{settings.vaptekesync_table}"
        raise LegacyMisconfigured(f"table {table} does not fit VAPTEKESYNC_COLUMNS: {'. '.join(faults)}")


def select_list(types: Mapping[str, str], settings: LegacySettings) -> str:
    """The select list for a range, in the order of LegacyRow."""
    columns = settings.vaptekesync_columns.model_dump().values()
    return ", ".join(_converted(quoted(column), types.get(column.casefold(), "")) for column in columns)


def _converted(column: str, kind: str) -> str:
    if kind in _TEXTS:  # without it, a CP1251 varchar would arrive as question marks
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
