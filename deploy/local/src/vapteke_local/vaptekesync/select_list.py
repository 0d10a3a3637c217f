"""The select list of `range`: columns, each plain, CAST AS nvarchar, or a datetimeoffset in ISO 8601."""

from __future__ import annotations

from typing import Any, NamedTuple

from vapteke_local.vaptekesync import syntax
from vapteke_local.vaptekesync.sqltypes import MAX
from vapteke_local.vaptekesync.syntax import Mismatch, Token
from vapteke_local.vaptekesync.tokens import SqlError

ITEM = syntax.pattern(":column")
CAST = syntax.pattern("CAST ( :column AS nvarchar ( #size ) )")
ISO = syntax.pattern("CONVERT ( nvarchar ( #size ) , :column , 126 )")
CAST_MAX = syntax.pattern("CAST ( :column AS nvarchar ( max ) )")


class Named(NamedTuple):
    """A column by its name; the characters of the nvarchar that it is cast to."""

    column: str
    cast: int | None


def read(given: list[Token]) -> tuple[list[Named], int]:
    """The items, and where FROM is to stand. Raises Mismatch, and SqlError for a cast to what there is not."""
    if given[0].text.casefold() != "select":
        raise Mismatch(0)
    items, place = [], 1
    while True:
        item, place = _item(given, place)
        items.append(item)
        if place >= len(given) or given[place].text != ",":
            return items, place
        place += 1


def _item(given: list[Token], place: int) -> tuple[Named, int]:
    for wanted in (CAST_MAX, CAST, ISO, ITEM):
        piece = given[place : place + len(wanted)]
        try:
            found = syntax.match(wanted, piece)
        except Mismatch:
            continue
        return Named(found["column"], _cast_size(wanted, found)), place + len(wanted)
    raise Mismatch(place)


def _cast_size(wanted: list[Token], found: dict[str, Any]) -> int | None:
    if wanted is CAST_MAX:
        return MAX
    if "size" not in found:
        return None
    size = int(found["size"])
    if not 1 <= size <= 4000:
        raise SqlError(131, f"The size ({size}) given to the type 'nvarchar' exceeds the maximum allowed (4000).", 15)
    return size
