"""Queries of the customers table: how many rows, where key ranges end, the rows of a range or with given keys, and
their fingerprints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql import fingerprint_syntax, results, select_list, syntax
from vapteke_local.vaptekesync.sql.database import Database
from vapteke_local.vaptekesync.sql.errors import not_listed
from vapteke_local.vaptekesync.sql.parameters import Parameters, value_of
from vapteke_local.vaptekesync.sql.results import Result, Run
from vapteke_local.vaptekesync.sql.select_list import SelectList
from vapteke_local.vaptekesync.sql.syntax import Mismatch, Token
from vapteke_local.vaptekesync.table.definition import Table, UnknownColumn
from vapteke_local.vaptekesync.table.fingerprints import Fingerprint
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
BOUNDARIES_ABOVE = syntax.pattern(
    "SELECT :k , :n FROM (SELECT :key AS :k , ROW_NUMBER() OVER (ORDER BY :key ) AS :n ,"
    " LEAD( :key ) OVER (ORDER BY :key ) AS :following FROM :schema . :table WHERE :key > ?above ) AS :numbered"
    " WHERE :n % #step = 0 OR :following IS NULL ORDER BY :k"
)
RANGE = syntax.pattern("FROM :schema . :table WHERE :key > ?above AND :key <= ?upto ORDER BY :key")
FIRST_RANGE = syntax.pattern("FROM :schema . :table WHERE :key <= ?upto ORDER BY :key")
FIRST_KEY = syntax.pattern("FROM :schema . :table WHERE :key IN ( ?each")
NEXT_KEY = syntax.pattern(", ?each")
LAST_KEY = syntax.pattern(") ORDER BY :key")
SUM = syntax.pattern("SELECT #chunk , COUNT_BIG ( * ) , SUM ( CAST (")
SUM_END = syntax.pattern("AS decimal ( 38 , 0 ) ) )")
BOUNDS = syntax.pattern("FROM :schema . :table WHERE :key > ?above AND :key <= ?upto")
FIRST_BOUNDS = syntax.pattern("FROM :schema . :table WHERE :key <= ?upto")


def key_counts(given: list[Token]) -> Run:
    found = syntax.match(KEY_COUNTS, given)

    def run(_parameters: Parameters, database: Database) -> Result:
        check_source(database.rows.table, found)
        keys = [row[database.rows.table.key_position] for row in database.rows]
        counts = (len(keys), len(keys) - keys.count(None), len(set(keys) - {None}))
        return results.of_values([("", SqlType("bigint"))] * 3, [counts])

    return run


def boundaries(given: list[Token]) -> Run:
    found = _first_of((BOUNDARIES, BOUNDARIES_ABOVE), given, 0)
    step = int(found["step"])

    def run(parameters: Parameters, database: Database) -> Result:
        if not step:
            raise SqlError(8134, "Divide by zero error encountered.", severity=16)
        check_source(database.rows.table, found)
        key = database.rows.table.column(database.rows.table.key)
        headings = [(found["k"], key.type), (found["n"], SqlType("bigint"))]
        above = _key(found["above"], parameters, database.rows.table) if "above" in found else None
        return results.of_values(headings, database.rows.boundaries(step, above), database.rows.table)

    return run


def key_range(given: list[Token]) -> Run:
    listed = select_list.read(given)
    found = _first_of((RANGE, FIRST_RANGE), given, listed.end)

    def run(parameters: Parameters, database: Database) -> Result:
        rows = database.rows
        metadata, items, show = _shown(rows, found, listed)
        bounds = _bounds(found, parameters, rows.table)
        if bounds is None:
            return Result(metadata)
        count, failure = database.readable(*bounds) if len(items) > 1 else (None, None)
        return Result(metadata, rows.range(*bounds)[:count], show, failure)

    return run


def some_rows(given: list[Token]) -> Run:
    listed = select_list.read(given)
    found, operands = _in_list(given, listed.end)

    def run(parameters: Parameters, database: Database) -> Result:
        rows = database.rows
        metadata, items, show = _shown(rows, found, listed)
        wanted = {_key(operand, parameters, rows.table) for operand in operands} - {None}
        keys = sorted(key for key in wanted if key in rows)
        broken = [key for key in keys if key in database.unreadable] if len(items) > 1 else []
        readable = keys[: keys.index(broken[0])] if broken else keys
        cells = [row for key in readable for row in rows.range_of(key)]
        return Result(metadata, cells, show, database.unreadable[broken[0]] if broken else None)

    return run


def _in_list(given: list[Token], start: int) -> tuple[dict[str, Any], list[Any]]:
    """What the names of the statement stand for, and the operands of its IN."""
    found = syntax.match_part(FIRST_KEY, given, start)
    operands, position = [found["each"]], start + len(FIRST_KEY)
    while position < len(given) and given[position].text == ",":
        operands.append(syntax.match_part(NEXT_KEY, given, position)["each"])
        position += len(NEXT_KEY)
    if syntax.match(LAST_KEY, given, position)["key"].casefold() != found["key"].casefold():
        raise Mismatch(len(given) - 1)
    return found, operands


def _shown(
    rows: Rows, found: dict[str, Any], listed: SelectList
) -> tuple[bytes, tuple[Item, ...], Callable[[Sequence[bytes]], Sequence[bytes]]]:
    """The headings of the answer, its columns, and what makes the stored rows the rows of the answer."""
    check_source(rows.table, found)
    items = tuple(Item(_shown_position(rows.table, column), cast) for column, cast in listed.columns)
    fingerprint = listed.fingerprint and listed.fingerprint(partial(position_of, rows.table))
    return _metadata(rows, items, fingerprint), items, partial(rows.show, items, fingerprint)


def fingerprints(given: list[Token]) -> Run:
    sums = [_range_sum(branch, start) for start, branch in _union(given)]

    def run(parameters: Parameters, database: Database) -> Result:
        headings = [("", SqlType("int")), ("", SqlType("bigint")), ("", SqlType("decimal", 0))]
        return results.of_values(headings, [each(parameters, database) for each in sums])

    return run


def _union(given: list[Token]) -> Iterator[tuple[int, list[Token]]]:
    """The statements that UNION ALL connects: the position of each, and all tokens up to its end."""
    start = 0
    for position, (token, following) in enumerate(pairwise(given)):
        if (token.text.casefold(), following.text.casefold()) == ("union", "all"):
            yield start, given[:position]
            start = position + 2
    yield start, given


def _range_sum(given: list[Token], start: int) -> Callable[[Parameters, Database], tuple[int, int, int | None]]:
    head = syntax.match_part(SUM, given, start)
    named, end = fingerprint_syntax.read(given, start + len(SUM))
    syntax.match_part(SUM_END, given, end)
    found = _first_of((BOUNDS, FIRST_BOUNDS), given, end + len(SUM_END))

    def row(parameters: Parameters, database: Database) -> tuple[int, int, int | None]:
        rows = database.rows
        check_source(rows.table, found)
        fingerprint = named(partial(position_of, rows.table))
        bounds = _bounds(found, parameters, rows.table)
        if bounds is not None and (failure := database.readable(*bounds)[1]) is not None:
            raise failure
        cells = rows.fingerprints(fingerprint, rows.range(*bounds) if bounds else [])
        values = [int.from_bytes(cell[1:], "little", signed=True) for cell in cells]
        return int(head["chunk"]), len(values), sum(values) if values else None

    return row


def _bounds(found: dict[str, Any], parameters: Parameters, table: Table) -> tuple[Any, Any] | None:
    """The lower and the upper bound of the keys. None if one is NULL: no comparison with it is true."""
    bounds = {side: _key(found[side], parameters, table) for side in ("above", "upto") if side in found}
    return None if None in bounds.values() else (bounds.get("above"), bounds["upto"])


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


def _shown_position(table: Table, column: str) -> int:
    position = position_of(table, column)
    if table.columns[position].type.is_rowversion:
        raise not_listed(column)
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


def _metadata(rows: Rows, items: tuple[Item, ...], fingerprint: Fingerprint | None) -> bytes:
    headings = [("" if i.cast else rows.table.columns[i.column].name, shown_type(rows.table, i)) for i in items]
    if fingerprint is not None:
        headings.append(("", SqlType("bigint")))
    return results.metadata(headings, rows.table.collation_bytes)
