"""Does the legacy table fit the mapping of the settings?"""

from collections.abc import Iterable
from typing import Any

from legacy_importer.connection import Connection
from legacy_importer.failures import LegacyUnfit
from legacy_importer.settings import LegacySettings

_INTEGERS = ("tinyint", "smallint", "int", "bigint")


async def check(connection: Connection, settings: LegacySettings) -> None:
    """Compare the table with the mapping of the settings. Raises LegacyUnfit with a text that names what is wrong."""
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    table = ".".join(names)
    found = {row[0].casefold(): (row[1], row[2]) for row in await connection.fetch(_COLUMNS, *names)}
    if not found:
        raise LegacyUnfit(f"table {table} does not exist, or the user may not read it")
    missing = [name for name in settings.vaptekesync_columns.model_dump().values() if name.casefold() not in found]
    if missing:
        raise LegacyUnfit(f"table {table} has no column {', '.join(missing)}")
    key = settings.vaptekesync_columns.id
    kind, nullable = found[key.casefold()]
    if kind.casefold() not in _INTEGERS:
        raise LegacyUnfit(f"key {key} of {table} is of type {kind}; one of {', '.join(_INTEGERS)} is needed")
    if nullable.casefold() == "yes":
        raise LegacyUnfit(f"key {key} of {table} may be null")
    if not _is_unique(key, await connection.fetch(_CONSTRAINTS, *names)):
        raise LegacyUnfit(f"key {key} of {table} is not unique: it has no primary key or unique constraint of its own")


_COLUMNS = (
    "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS "
    "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)
_CONSTRAINTS = (
    "SELECT k.CONSTRAINT_NAME, k.COLUMN_NAME FROM INFORMATION_SCHEMA.TABLE_CONSTRAINTS AS c "
    "JOIN INFORMATION_SCHEMA.KEY_COLUMN_USAGE AS k "
    "ON k.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = c.CONSTRAINT_NAME "
    "WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? AND c.CONSTRAINT_TYPE IN ('PRIMARY KEY', 'UNIQUE')"
)


def _is_unique(key: str, constraints: Iterable[Any]) -> bool:
    columns: dict[str, list[str]] = {}
    for name, column in constraints:
        columns.setdefault(name, []).append(column.casefold())
    return [key.casefold()] in columns.values()
