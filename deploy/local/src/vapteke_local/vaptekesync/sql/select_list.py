"""Reads the select list of the statement `range`: columns, each plain, cast to nvarchar or converted to ISO 8601."""

from __future__ import annotations

from typing import Any, NamedTuple

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql import fingerprint_syntax, syntax
from vapteke_local.vaptekesync.sql.syntax import Mismatch, Token
from vapteke_local.vaptekesync.types.definitions import MAX

ITEM = syntax.pattern(":column")
CAST = syntax.pattern("CAST ( :column AS nvarchar ( #size ) )")
ISO = syntax.pattern("CONVERT ( nvarchar ( #size ) , :column , 126 )")
CAST_MAX = syntax.pattern("CAST ( :column AS nvarchar ( max ) )")


class Named(NamedTuple):
    """The name of a column, and the size of the nvarchar to which it is cast or converted; None for a plain column."""

    column: str
    cast: int | None


class SelectList(NamedTuple):
    columns: list[Named]
    fingerprint: fingerprint_syntax.Named | None
    """The row fingerprint after the columns; None if the SELECT has no fingerprint."""
    end: int
    """The position of the token after the select list."""


def read(given: list[Token]) -> SelectList:
    """Reads the select list at the start of a statement: columns, and perhaps a row fingerprint after them.

    Raises Mismatch if there is no such select list, and SqlError 131 for an nvarchar with an invalid size.
    """
    if given[0].text.casefold() != "select":
        raise Mismatch(0)
    items: list[Named] = []
    position = 1
    while True:
        try:
            item, position = _item(given, position)
        except Mismatch:
            return SelectList(items, *fingerprint_syntax.read(given, position))
        items.append(item)
        if position >= len(given) or given[position].text != ",":
            return SelectList(items, None, position)
        position += 1


def _item(given: list[Token], position: int) -> tuple[Named, int]:
    for wanted in (CAST_MAX, CAST, ISO, ITEM):
        try:
            found = syntax.match_part(wanted, given, position)
        except Mismatch:
            continue
        return Named(found["column"], _cast_size(wanted, found)), position + len(wanted)
    raise Mismatch(position)


def _cast_size(wanted: list[Token], found: dict[str, Any]) -> int | None:
    if wanted is CAST_MAX:
        return MAX
    if "size" not in found:
        return None
    size = int(found["size"])
    if not 1 <= size <= 4000:
        raise SqlError(131, f"The size ({size}) given to the type 'nvarchar' exceeds the maximum allowed (4000).", 15)
    return size
