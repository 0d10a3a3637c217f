"""The statements that the stand-in answers: the importer's own, and nothing else.

| name        | statement                                                                                        |
|-------------|--------------------------------------------------------------------------------------------------|
| ping        | SELECT 1                                                                                         |
| clock       | SELECT SYSUTCDATETIME()                                                                          |
| databases   | SELECT state_desc, user_access_desc FROM sys.databases WHERE name = ?                            |
| columns     | SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ?|
|             | AND TABLE_NAME = ?                                                                               |
| indexes     | SELECT i.name, c.name FROM sys.indexes AS i JOIN sys.index_columns AS k ON k.object_id =         |
|             | i.object_id AND k.index_id = i.index_id JOIN sys.columns AS c ON c.object_id = k.object_id AND   |
|             | c.column_id = k.column_id WHERE i.object_id = OBJECT_ID(?) AND i.is_unique = 1 AND               |
|             | i.has_filter = 0 AND i.is_disabled = 0 AND i.is_hypothetical = 0 AND k.key_ordinal > 0           |
| type        | SELECT type_desc FROM sys.objects WHERE object_id = OBJECT_ID(?)                                 |
| synonym     | SELECT base_object_name FROM sys.synonyms WHERE object_id = OBJECT_ID(?)                         |
| key counts  | SELECT COUNT_BIG(*), COUNT_BIG([ID]), COUNT_BIG(DISTINCT [ID]) FROM [dbo].[Customers]            |
| boundaries  | SELECT k, n FROM (SELECT [ID] AS k, ROW_NUMBER() OVER (ORDER BY [ID]) AS n, LEAD([ID]) OVER      |
|             | (ORDER BY [ID]) AS following FROM [dbo].[Customers]) AS numbered WHERE n % 10000 = 0 OR          |
|             | following IS NULL ORDER BY k                                                                     |
| range       | SELECT [ID], CAST([Phone] AS nvarchar(4000)), … FROM [dbo].[Customers] WHERE [ID] > ? AND        |
|             | [ID] <= ? ORDER BY [ID]; or with [ID] <= ? alone                                                 |

White space, the case of words, brackets around names, comments and a closing semicolon are free; so are the aliases,
the step of `boundaries`, and the select list of `range`: any of the table's columns in any order, each plain or CAST AS
nvarchar(n or max), a datetimeoffset also CONVERT(nvarchar(n), [column], 126). A `?` may be a parameter or a literal.
The ORDER BY and the bounds are on the table's key.
Everything else is error 102, but for what drivers send by themselves (SET, USE, the transaction statements, the
question which types there are): `done`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from vapteke_local.vaptekesync import select_list, sqltypes, syntax, tokens
from vapteke_local.vaptekesync.projections import ROW, Item, shown_type
from vapteke_local.vaptekesync.rows import Rows
from vapteke_local.vaptekesync.sqltypes import SqlType
from vapteke_local.vaptekesync.syntax import Mismatch, Parameter, Token
from vapteke_local.vaptekesync.table import Table, UnknownColumn
from vapteke_local.vaptekesync.tokens import SqlError

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
KEY_COUNTS = syntax.pattern("SELECT COUNT_BIG(*), COUNT_BIG( :key ), COUNT_BIG(DISTINCT :key ) FROM :schema . :table")
BOUNDARIES = syntax.pattern(
    "SELECT :k , :n FROM (SELECT :key AS :k , ROW_NUMBER() OVER (ORDER BY :key ) AS :n ,"
    " LEAD( :key ) OVER (ORDER BY :key ) AS :following FROM :schema . :table ) AS :numbered"
    " WHERE :n % #step = 0 OR :following IS NULL ORDER BY :k"
)
RANGE = syntax.pattern("FROM :schema . :table WHERE :key > ?above AND :key <= ?upto ORDER BY :key")
FIRST_RANGE = syntax.pattern("FROM :schema . :table WHERE :key <= ?upto ORDER BY :key")
HOUSEKEEPING = re.compile(
    r"""\s*(?:(?: SET\s(?:(?!\bSELECT\b)[^;])+? | USE\s+\S+
        | sp_datatype_info\w*\s+[-\d,\s]+
        | (?:IF\s+@@TRANCOUNT\s*>\s*0\s+)?(?:BEGIN|COMMIT|ROLLBACK)(?:\s+TRAN\w*)? )\s*(?:;|$)\s*)+""",
    re.IGNORECASE | re.VERBOSE,
)

Parameters = dict[str, Any]


def as_they_are(rows: Sequence[bytes]) -> Sequence[bytes]:
    return rows


class Result(NamedTuple):
    """`metadata` is a COLMETADATA token, `show` turns a part of `rows` into ROW tokens; `done` has neither."""

    metadata: bytes = b""
    rows: Sequence[bytes] = ()
    show: Callable[[Sequence[bytes]], Sequence[bytes]] = as_they_are
    failure: SqlError | None = None
    """What follows the rows instead of their end."""


@dataclass
class Database:
    """`clock` gives UTC, without a zone. `state` and `access` are as in sys.databases."""

    rows: Rows
    clock: Callable[[], datetime]
    name: str = "vAptekeSync"
    state: str = "ONLINE"
    access: str = "MULTI_USER"
    unreadable: dict[Any, SqlError] = field(default_factory=dict)
    """By key: what a SELECT of the row fails with, unless it is of the key alone."""

    @property
    def is_open(self) -> bool:
        return (self.state, self.access) == ("ONLINE", "MULTI_USER")

    def readable(self, above: Any, up_to: Any) -> tuple[int | None, SqlError | None]:
        """How many rows of a range come before the first unreadable one, and its error; None twice: all."""
        for place, key in enumerate(self.rows.keys(above, up_to) if self.unreadable else ()):
            if key in self.unreadable:
                return place, self.unreadable[key]
        return None, None


Run = Callable[[Parameters, Database], Result]


class Statement(NamedTuple):
    name: str
    run: Run


def compile_sql(sql: str) -> Statement:
    """Raises SqlError 102 for what is not listed."""
    given = syntax.tokens(sql)
    if not given or HOUSEKEEPING.fullmatch(sql):
        return Statement("done", lambda _parameters, _database: Result())
    farthest = 0
    for name, recognise in RECOGNISED.items():
        try:
            return Statement(name, recognise(given))
        except Mismatch as mismatch:
            farthest = max(farthest, mismatch.place)
    raise not_listed(given[farthest].text if farthest < len(given) else given[-1].text)


def not_listed(near: str) -> SqlError:
    text = (
        f"Incorrect syntax near '{near}'. (This is a stand-in for vAptekeSync: it answers only"
        " the statements listed in vapteke_local.vaptekesync.statements.)"
    )
    return SqlError(102, text, severity=15)


def _ping(given: list[Token]) -> Run:
    syntax.match(PING, given)
    return lambda _parameters, _database: _result([("", SqlType("int"))], [(1,)])


def _clock(given: list[Token]) -> Run:
    syntax.match(CLOCK, given)
    return lambda _parameters, database: _result([("", SqlType("datetime2", 7))], [(database.clock(),)])


def _databases(given: list[Token]) -> Run:
    found = syntax.match(DATABASES, given)
    heads = [("state_desc", SYSNAME), ("user_access_desc", SYSNAME)]

    def run(parameters: Parameters, database: Database) -> Result:
        asked = str(_operand(found["name"], parameters))
        is_ours = asked.casefold() == database.name.casefold()
        return _result(heads, [(database.state, database.access)] if is_ours else [])

    return run


def _columns(given: list[Token]) -> Run:
    found = syntax.match(COLUMNS, given)
    heads = [("COLUMN_NAME", SYSNAME), ("DATA_TYPE", SYSNAME), ("IS_NULLABLE", SqlType("varchar", 3))]

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        columns = [c for c in table.columns if c.may_be_read] if _is_asked(table, found, parameters) else []
        return _result(heads, [(c.name, c.type.name, "YES" if c.nullable else "NO") for c in columns])

    return run


def _indexes(given: list[Token]) -> Run:
    found = syntax.match(INDEXES, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        indexes = table.constraints if _is_object(table, found, parameters) else ()
        rows = [(index.name, column) for index in indexes if index.holds for column in index.columns]
        return _result([("name", SYSNAME), ("name", SYSNAME)], rows)

    return run


def _type(given: list[Token]) -> Run:
    found = syntax.match(TYPE, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table = database.rows.table
        return _result([("type_desc", SYSNAME)], [(table.type,)] if _is_object(table, found, parameters) else [])

    return run


def _synonym(given: list[Token]) -> Run:
    found = syntax.match(SYNONYM, given)

    def run(parameters: Parameters, database: Database) -> Result:
        table, asked = database.rows.table, _operand(found["object"], parameters)
        names = {_object_name(table.schema, name) for name in table.synonyms}
        rows = [(_object_name(table.schema, table.name),)] if asked in names else []
        return _result([("base_object_name", SYSNAME)], rows)

    return run


def _key_counts(given: list[Token]) -> Run:
    found = syntax.match(KEY_COUNTS, given)

    def run(_parameters: Parameters, database: Database) -> Result:
        _check_source(database.rows.table, found)
        keys = [row[database.rows.table.key_position] for row in database.rows]
        counts = (len(keys), len(keys) - keys.count(None), len(set(keys) - {None}))
        return _result([("", SqlType("bigint"))] * 3, [counts])

    return run


def _boundaries(given: list[Token]) -> Run:
    found = syntax.match(BOUNDARIES, given)
    step = int(found["step"])

    def run(_parameters: Parameters, database: Database) -> Result:
        if not step:
            raise SqlError(8134, "Divide by zero error encountered.", severity=16)
        _check_source(database.rows.table, found)
        key = database.rows.table.column(database.rows.table.key)
        heads = [(found["k"], key.type), (found["n"], SqlType("bigint"))]
        return _result(heads, database.rows.boundaries(step), database.rows.table)

    return run


def _range(given: list[Token]) -> Run:
    names, place = select_list.read(given)
    found = _first_of((RANGE, FIRST_RANGE), given, place)

    def run(parameters: Parameters, database: Database) -> Result:
        rows = database.rows
        _check_source(rows.table, found)
        items = tuple(Item(_position(rows.table, column), cast) for column, cast in names)
        bounds = {side: _key(found[side], parameters, rows.table) for side in ("above", "upto") if side in found}
        # A comparison with NULL is never true.
        if None in bounds.values():
            return Result(_metadata(rows, items))
        above, upto = bounds.get("above"), bounds["upto"]
        count, failure = database.readable(above, upto) if len(items) > 1 else (None, None)
        return Result(_metadata(rows, items), rows.range(above, upto)[:count], partial(rows.show, items), failure)

    return run


RECOGNISED = {
    "ping": _ping,
    "clock": _clock,
    "databases": _databases,
    "columns": _columns,
    "indexes": _indexes,
    "type": _type,
    "synonym": _synonym,
    "key counts": _key_counts,
    "boundaries": _boundaries,
    "range": _range,
}


def _first_of(patterns: tuple[list[Token], ...], given: list[Token], place: int) -> dict[str, Any]:
    farthest = place
    for wanted in patterns:
        try:
            return syntax.match(wanted, given, place)
        except Mismatch as mismatch:
            farthest = max(farthest, mismatch.place)
    raise Mismatch(farthest)


def _is_asked(table: Table, found: dict[str, Any], parameters: Parameters) -> bool:
    asked = (_operand(found["schema"], parameters), _operand(found["table"], parameters))
    return tuple(str(name).casefold() for name in asked) == (table.schema.casefold(), table.name.casefold())


def _is_object(table: Table, found: dict[str, Any], parameters: Parameters) -> bool:
    asked = str(_operand(found["object"], parameters))
    return asked.casefold() == _object_name(table.schema, table.name).casefold()


def _object_name(schema: str, name: str) -> str:
    return ".".join("[" + part.replace("]", "]]") + "]" for part in (schema, name))


def _check_source(table: Table, found: dict[str, Any]) -> None:
    if (found["schema"].casefold(), found["table"].casefold()) != (table.schema.casefold(), table.name.casefold()):
        raise SqlError(208, f"Invalid object name '{found['schema']}.{found['table']}'.", severity=16)
    if _position(table, found["key"]) != table.key_position:
        raise not_listed(found["key"])


def _position(table: Table, column: str) -> int:
    try:
        position = table.position(column)
    except UnknownColumn:
        raise SqlError(207, f"Invalid column name '{column}'.", severity=16) from None
    if not table.columns[position].may_be_read:
        raise SqlError(230, f"The SELECT permission was denied on the column '{column}'.", severity=14)
    return position


def _operand(value: Any, parameters: Parameters) -> Any:
    if not isinstance(value, Parameter):
        return value
    if value.name not in parameters:
        raise SqlError(137, f'Must declare the scalar variable "{value.name}".', severity=15, state=2)
    return parameters[value.name]


def _key(operand: Any, parameters: Parameters, table: Table) -> Any:
    """The operand as a value of the key's type, as SQL Server would convert it to compare; None for NULL."""
    value, key = _operand(operand, parameters), table.column(table.key)
    try:
        return value if value is None or key.type.is_text == isinstance(value, str) else _converted(value, key.type)
    except ValueError:
        text = f"Conversion failed when converting the nvarchar value to data type {key.type.name}."
        raise SqlError(245, text, severity=16) from None


def _converted(value: Any, sql_type: SqlType) -> Any:
    return sqltypes.from_text(sql_type, value) if isinstance(value, str) or sql_type.is_text else value


def _metadata(rows: Rows, items: tuple[Item, ...]) -> bytes:
    heads = [("" if i.cast else rows.table.columns[i.column].name, shown_type(rows.table, i)) for i in items]
    return tokens.columns([(name, sqltypes.describe(kind, rows.table.collation_bytes)) for name, kind in heads])


def _result(heads: list[tuple[str, SqlType]], values: list[tuple[Any, ...]], table: Table | None = None) -> Result:
    collation, codepage = sqltypes.COLLATIONS[table.collation if table else "Cyrillic_General_CI_AS"]
    encoders = [sqltypes.encoder(kind, codepage) for _, kind in heads]
    rows = [ROW + b"".join(encode(v) for encode, v in zip(encoders, row, strict=True)) for row in values]
    return Result(tokens.columns([(head, sqltypes.describe(kind, collation)) for head, kind in heads]), rows)
