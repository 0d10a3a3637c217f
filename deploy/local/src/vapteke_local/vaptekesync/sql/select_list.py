"""The select list of `range`: columns, each plain, CAST AS nvarchar, or converted to ISO 8601."""

from __future__ import annotations

from typing import Any, NamedTuple

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql import syntax
from vapteke_local.vaptekesync.sql.syntax import Mismatch, Token
from vapteke_local.vaptekesync.types.definitions import MAX

ITEM = syntax.pattern(":column")
CAST = syntax.pattern("CAST ( :column AS nvarchar ( #size ) )")
ISO = syntax.pattern("CONVERT ( nvarchar ( #size ) , :column , 126 )")
CAST_MAX = syntax.pattern("CAST ( :column AS nvarchar ( max ) )")


class Named(NamedTuple):
    """A column's name, and the size of the nvarchar that it is cast to."""

    column: str
    cast: int | None


def read(given: list[Token]) -> tuple[list[Named], int]:
    """The items, and the position at which FROM must follow. Raises Mismatch, and SqlError for an invalid cast."""
    if given[0].text.casefold() != "select":
        raise Mismatch(0)
    items, position = [], 1
    while True:
        item, position = _item(given, position)
        items.append(item)
        if position >= len(given) or given[position].text != ",":
            return items, position
        position += 1


def _item(given: list[Token], position: int) -> tuple[Named, int]:
    for wanted in (CAST_MAX, CAST, ISO, ITEM):
        part = given[position : position + len(wanted)]
        try:
            found = syntax.match(wanted, part)
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
