"""Queries of the customers table: how many rows, where key ranges end, the rows of a range."""

from __future__ import annotations

from functools import partial
from typing import Any

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql import results, select_list, syntax
from vapteke_local.vaptekesync.sql.database import Database
from vapteke_local.vaptekesync.sql.errors import not_listed
from vapteke_local.vaptekesync.sql.parameters import Parameters, value_of
from vapteke_local.vaptekesync.sql.results import Result, Run
from vapteke_local.vaptekesync.sql.syntax import Mismatch, Token
from vapteke_local.vaptekesync.table.definition import Table, UnknownColumn
from vapteke_local.vaptekesync.table.projections import Item, shown_type
from vapteke_local.vaptekesync.table.rows import Rows
from vapteke_local.vaptekesync.types import conversion
from vapteke_local.vaptekesync.types.definitions import SqlType

KEY_COUNTS = syntax.pattern("SELECT COUNT_BIG(*), COUNT_BIG( :key ), COUNT_BIG(DISTINCT :key ) FROM :schema . :table")
BOUNDARIES = syntax.pattern(
    "SELECT :k , :n FROM (SELECT :key AS :k , ROW_NUMBER() OVER (ORDER BY :key ) AS :n ,"
    " LEAD( :key ) OVER (ORDER BY :key ) AS :following FROM :schema . :table ) AS :numbered"
    " WHERE :n % #step = 0 OR :following IS NULL ORDER BY :k"
)
RANGE = syntax.pattern("FROM :schema . :table WHERE :key > ?above AND :key <= ?upto ORDER BY :key")
FIRST_RANGE = syntax.pattern("FROM :schema . :table WHERE :key <= ?upto ORDER BY :key")


def key_counts(given: list[Token]) -> Run:
    found = syntax.match(KEY_COUNTS, given)

    def run(_parameters: Parameters, database: Database) -> Result:
        check_source(database.rows.table, found)
        keys = [row[database.rows.table.key_position] for row in database.rows]
        counts = (len(keys), len(keys) - keys.count(None), len(set(keys) - {None}))
        return results.of_values([("", SqlType("bigint"))] * 3, [counts])

    return run


def boundaries(given: list[Token]) -> Run:
    found = syntax.match(BOUNDARIES, given)
    step = int(found["step"])

    def run(_parameters: Parameters, database: Database) -> Result:
        if not step:
            raise SqlError(8134, "Divide by zero error encountered.", severity=16)
        check_source(database.rows.table, found)
        key = database.rows.table.column(database.rows.table.key)
        headings = [(found["k"], key.type), (found["n"], SqlType("bigint"))]
        return results.of_values(headings, database.rows.boundaries(step), database.rows.table)

    return run


def key_range(given: list[Token]) -> Run:
    names, position = select_list.read(given)
    found = _first_of((RANGE, FIRST_RANGE), given, position)

    def run(parameters: Parameters, database: Database) -> Result:
        rows = database.rows
        check_source(rows.table, found)
        items = tuple(Item(position_of(rows.table, column), cast) for column, cast in names)
        bounds = {side: _key(found[side], parameters, rows.table) for side in ("above", "upto") if side in found}
        # A comparison with NULL is never true.
        if None in bounds.values():
            return Result(_metadata(rows, items))
        above, upto = bounds.get("above"), bounds["upto"]
        count, failure = database.readable(above, upto) if len(items) > 1 else (None, None)
        return Result(_metadata(rows, items), rows.range(above, upto)[:count], partial(rows.show, items), failure)

    return run


def _first_of(patterns: tuple[list[Token], ...], given: list[Token], position: int) -> dict[str, Any]:
    farthest = position
    for wanted in patterns:
        try:
            return syntax.match(wanted, given, position)
        except Mismatch as mismatch:
            farthest = max(farthest, mismatch.position)
    raise Mismatch(farthest)


def check_source(table: Table, found: dict[str, Any]) -> None:
    if (found["schema"].casefold(), found["table"].casefold()) != (table.schema.casefold(), table.name.casefold()):
        raise SqlError(208, f"Invalid object name '{found['schema']}.{found['table']}'.", severity=16)
    if position_of(table, found["key"]) != table.key_position:
        raise not_listed(found["key"])


def position_of(table: Table, column: str) -> int:
    try:
        position = table.position(column)
    except UnknownColumn:
        raise SqlError(207, f"Invalid column name '{column}'.", severity=16) from None
    if not table.columns[position].may_be_read:
        raise SqlError(230, f"The SELECT permission was denied on the column '{column}'.", severity=14)
    return position


def _key(operand: Any, parameters: Parameters, table: Table) -> Any:
    """The value of the operand, converted to the key's type as SQL Server does before a comparison; None for NULL.

    Raises SqlError 137 for a parameter without a value, and SqlError 245 for a value that cannot be converted.
    """
    value, key = value_of(operand, parameters), table.column(table.key)
    try:
        return value if value is None or key.type.is_text == isinstance(value, str) else _converted(value, key.type)
    except ValueError:
        text = f"Conversion failed when converting the nvarchar value to data type {key.type.name}."
        raise SqlError(245, text, severity=16) from None


def _converted(value: Any, sql_type: SqlType) -> Any:
    return conversion.from_text(sql_type, value) if isinstance(value, str) or sql_type.is_text else value


def _metadata(rows: Rows, items: tuple[Item, ...]) -> bytes:
    headings = [("" if i.cast else rows.table.columns[i.column].name, shown_type(rows.table, i)) for i in items]
    return results.metadata(headings, rows.table.collation_bytes)
