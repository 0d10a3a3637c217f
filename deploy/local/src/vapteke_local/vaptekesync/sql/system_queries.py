"""Queries of the server and its system views: the clock, the databases, the columns and indexes of the table."""

from __future__ import annotations

from typing import Any

from vapteke_local.vaptekesync.protocol.login import SERVER_NAME
from vapteke_local.vaptekesync.sql import results, syntax
from vapteke_local.vaptekesync.sql.database import Database
from vapteke_local.vaptekesync.sql.parameters import Parameters, value_of
from vapteke_local.vaptekesync.sql.results import Result, Run
from vapteke_local.vaptekesync.sql.syntax import Token
from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.types.definitions import SqlType

SYSNAME = SqlType("nvarchar", 128)
PING = syntax.pattern("SELECT 1")
CLOCK = syntax.pattern("SELECT SYSUTCDATETIME ( )")
DATABASES = syntax.pattern("SELECT state_desc, user_access_desc FROM sys.databases WHERE name = ?name")
COLUMNS = syntax.pattern(
    "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS"
    " WHERE TABLE_SCHEMA = ?schema AND TABLE_NAME = ?table"
)
INDEXES = syntax.pattern(
    "SELECT :i . name, :c . name FROM sys.indexes AS :i"
    " JOIN sys.index_columns AS :k ON :k . object_id = :i . object_id AND :k . index_id = :i . index_id"
    " JOIN sys.columns AS :c ON :c . object_id = :k . object_id AND :c . column_id = :k . column_id"
    " WHERE :i . object_id = OBJECT_ID( ?object ) AND :i . is_unique = 1"
    " AND :i . has_filter = 0 AND :i . is_disabled = 0 AND :i . is_hypothetical = 0 AND :k . key_ordinal > 0"
)
TYPE = syntax.pattern("SELECT type_desc FROM sys.objects WHERE object_id = OBJECT_ID( ?object )")
SYNONYM = syntax.pattern("SELECT base_object_name FROM sys.synonyms WHERE object_id = OBJECT_ID( ?object )")

IDENTITY = syntax.pattern(
    "SELECT @@SERVERNAME, DB_NAME(), :d . create_date, :o . object_id, :o . type_desc, :o . modify_date"
    " FROM sys.objects AS :o JOIN sys.databases AS :d ON :d . database_id = DB_ID()"
    " WHERE :o . object_id = OBJECT_ID( ?object )"
)


def ping(given: list[Token]) -> Run:
    syntax.match(PING, given)
    return lambda _parameters, _database: results.of_values([("", SqlType("int"))], [(1,)])


def clock(given: list[Token]) -> Run:
    syntax.match(CLOCK, given)
    return lambda _parameters, database: results.of_values([("", SqlType("datetime2", 7))], [(database.clock(),)])


def databases(given: list[Token]) -> Run:
    found = syntax.match(DATABASES, given)
    headings = [("state_desc", SYSNAME), ("user_access_desc", SYSNAME)]

    def run(parameters: Parameters, database: Database) -> Result:
        asked = str(value_of(found["name"], parameters))
        is_ours = asked.casefold() == database.name.casefold()
        return results.of_values(headings, [(database.state, database.access)] if is_ours else [])

    return run


def columns(given: list[Token]) -> Run:
    found = syntax.match(COLUMNS, given)
    headings = [("COLUMN_NAME", SYSNAME), ("DATA_TYPE", SYSNAME), ("IS_NULLABLE", SqlType("varchar", 3))]

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        columns = [c for c in table.columns if c.may_be_read] if is_asked(table, found, parameters) else []
        kinds = ["timestamp" if c.type.is_rowversion else c.type.name for c in columns]
        rows = [(c.name, kind, "YES" if c.nullable else "NO") for c, kind in zip(columns, kinds, strict=True)]
        return results.of_values(headings, rows)

    return run


def indexes(given: list[Token]) -> Run:
    found = syntax.match(INDEXES, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        indexes = table.constraints if is_object(table, found, parameters) else ()
        rows = [(index.name, column) for index in indexes if index.holds for column in index.columns]
        return results.of_values([("name", SYSNAME), ("name", SYSNAME)], rows)

    return run


def object_type(given: list[Token]) -> Run:
    found = syntax.match(TYPE, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        return results.of_values(
            [("type_desc", SYSNAME)], [(table.type,)] if is_object(table, found, parameters) else []
        )

    return run


def identity(given: list[Token]) -> Run:
    found = syntax.match(IDENTITY, given)
    instant = SqlType("datetime")
    kinds = [SYSNAME, SYSNAME, instant, SqlType("int"), SYSNAME, instant]

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        row = (SERVER_NAME, database.name, database.created_at, database.object_id, table.type, table.modified_at)
        return results.of_values([("", kind) for kind in kinds], [row] if is_object(table, found, parameters) else [])

    return run


def synonym(given: list[Token]) -> Run:
    found = syntax.match(SYNONYM, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table, asked = database.rows.table, value_of(found["object"], parameters)
        names = {object_name(table.schema, name) for name in table.synonyms}
        rows = [(object_name(table.schema, table.name),)] if asked in names else []
        return results.of_values([("base_object_name", SYSNAME)], rows)

    return run


def is_asked(table: Table, found: dict[str, Any], parameters: Parameters) -> bool:
    asked = (value_of(found["schema"], parameters), value_of(found["table"], parameters))
    return tuple(str(name).casefold() for name in asked) == (table.schema.casefold(), table.name.casefold())


def is_object(table: Table, found: dict[str, Any], parameters: Parameters) -> bool:
    asked = str(value_of(found["object"], parameters))
    return asked.casefold() == object_name(table.schema, table.name).casefold()


def object_name(schema: str, name: str) -> str:
    return ".".join("[" + part.replace("]", "]]") + "]" for part in (schema, name))
