"""Queries of `legacy-importer doctor` alone: sizes of columns, the user's permissions, a text, the newest instant."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from vapteke_local.vaptekesync.sql import results, syntax
from vapteke_local.vaptekesync.sql.database import Database
from vapteke_local.vaptekesync.sql.errors import not_listed
from vapteke_local.vaptekesync.sql.parameters import Parameters, value_of
from vapteke_local.vaptekesync.sql.results import Result, Run
from vapteke_local.vaptekesync.sql.syntax import Token
from vapteke_local.vaptekesync.sql.system_queries import SYSNAME, is_asked, is_object
from vapteke_local.vaptekesync.sql.table_queries import check_source, position_of
from vapteke_local.vaptekesync.table.definition import Column, Table
from vapteke_local.vaptekesync.types.definitions import LONG_TEXTS, TEXTS, SqlType

SIZES = syntax.pattern(
    "SELECT COLUMN_NAME, CHARACTER_MAXIMUM_LENGTH, COLLATION_NAME FROM INFORMATION_SCHEMA.COLUMNS"
    " WHERE TABLE_SCHEMA = ?schema AND TABLE_NAME = ?table"
)
PERMISSIONS = syntax.pattern(
    "SELECT permission_name FROM fn_my_permissions( ?object , 'OBJECT') WHERE subentity_name = ''"
)
SAME_TEXT = syntax.pattern(
    "SELECT COUNT_BIG(*) FROM :schema . :table WHERE :key = ?id AND CAST( :column AS nvarchar(4000)) = ?text"
)
NEWEST = syntax.pattern(
    "SELECT MAX( :column ) FROM :schema . :table WHERE :column <= DATEADD(hour, #hours , SYSUTCDATETIME())"
)


def sizes(given: list[Token]) -> Run:
    found = syntax.match(SIZES, given)
    headings = [
        ("COLUMN_NAME", SYSNAME),
        ("CHARACTER_MAXIMUM_LENGTH", SqlType("int")),
        ("COLLATION_NAME", SYSNAME),
    ]

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        columns = [c for c in table.columns if c.may_be_read] if is_asked(table, found, parameters) else []
        return results.of_values(headings, [(c.name, *_size(c, table)) for c in columns])

    return run


def _size(column: Column, table: Table) -> tuple[int | None, str | None]:
    name = column.type.name
    if name in LONG_TEXTS:
        return (2**30 - 1 if name == "ntext" else 2**31 - 1), table.collation
    return (column.type.size, table.collation) if name in TEXTS else (None, None)


def permissions(given: list[Token]) -> Run:
    found = syntax.match(PERMISSIONS, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        names = table.permissions if is_object(table, found, parameters) else ()
        return results.of_values([("permission_name", SYSNAME)], [(name,) for name in names])

    return run


def same_text(given: list[Token]) -> Run:
    """Compares without regard to case and to spaces at the end, as a collation that ends in CI does."""
    found = syntax.match(SAME_TEXT, given)

    def run(parameters: Parameters, database: Database) -> Result:
        check_source(database.rows.table, found)
        name = database.rows.table.columns[position_of(database.rows.table, found["column"])].name
        key, text = value_of(found["id"], parameters), value_of(found["text"], parameters)
        stored = database.rows.get(key)[name] if key in database.rows else None
        is_same = None not in (stored, text) and _folded(stored) == _folded(text)
        return results.of_values([("", SqlType("bigint"))], [(int(is_same),)])

    return run


def _folded(text: Any) -> str:
    return str(text).rstrip(" ").casefold()


def newest(given: list[Token]) -> Run:
    found = syntax.match(NEWEST, given)
    hours = timedelta(hours=int(found["hours"]))

    def run(_parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        check_source(table, found | {"key": table.key})
        column = position_of(table, found["column"])
        if table.columns[column].type.name not in ("date", "smalldatetime", "datetime", "datetime2"):
            raise not_listed(found["column"])
        latest = database.clock() + hours
        values = [value for value in database.rows.different(column) if value is not None and _instant(value) <= latest]
        return results.of_values([("", table.columns[column].type)], [(max(values, default=None),)])

    return run


def _instant(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
