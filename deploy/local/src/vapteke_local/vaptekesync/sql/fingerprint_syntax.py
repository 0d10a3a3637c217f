"""Reads a row fingerprint in a statement: a rowversion as a bigint, or 64 bits of a SHA2_256 over a CONCAT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vapteke_local.vaptekesync.sql import syntax
from vapteke_local.vaptekesync.sql.syntax import Mismatch, Token
from vapteke_local.vaptekesync.table.fingerprints import Fingerprint, Hash, Length, Part, Rowversion, Text, Value

ROWVERSION = syntax.pattern("CAST ( :column AS bigint )")
HASH = syntax.pattern("CAST ( SUBSTRING ( HASHBYTES ( 'SHA2_256' , CONCAT (")
HASH_END = syntax.pattern(") ) , 1 , 8 ) AS bigint )")
LENGTH = syntax.pattern("DATALENGTH ( :column )")
CAST = syntax.pattern("CAST ( :column AS nvarchar ( #size ) )")
IMAGE = syntax.pattern("CONVERT ( nvarchar ( #size ) , CAST ( :column AS binary ( #bytes ) ) , 2 )")
DATE = syntax.pattern("CONVERT ( nvarchar ( #size ) , :column , 121 )")
MONEY = syntax.pattern("CONVERT ( nvarchar ( #size ) , :column , 2 )")

Position = Callable[[str], int]
"""The position of a column in the table, by its name. Raises SqlError."""
Named = Callable[[Position], Fingerprint]
"""A fingerprint whose columns are not looked up yet."""


def read(given: list[Token], start: int) -> tuple[Named, int]:
    """Reads a fingerprint at `start`. Returns it and the position of the token after it. Raises Mismatch."""
    try:
        found = syntax.match_part(ROWVERSION, given, start)
    except Mismatch:
        return _read_hash(given, start)
    return lambda position: Rowversion(position(found["column"])), start + len(ROWVERSION)


def _read_hash(given: list[Token], start: int) -> tuple[Named, int]:
    syntax.match_part(HASH, given, start)
    parts, position = [], start + len(HASH)
    while True:
        part, position = _read_part(given, position)
        parts.append(part)
        if position >= len(given) or given[position].text != ",":
            break
        position += 1
    syntax.match_part(HASH_END, given, position)
    return lambda find: Hash(tuple(part(find) for part in parts)), position + len(HASH_END)


def _read_part(given: list[Token], position: int) -> tuple[Callable[[Position], Part], int]:
    if position < len(given) and given[position].kind == "text":
        text = given[position].text
        return lambda _find: Text(text), position + 1
    farthest = position
    for wanted, make in _PARTS:
        try:
            found = syntax.match_part(wanted, given, position)
        except Mismatch as mismatch:
            farthest = max(farthest, mismatch.position)
        else:
            return _part(make, found), position + len(wanted)
    raise Mismatch(farthest)


def _part(make: Callable[[int, dict[str, Any]], Part], found: dict[str, Any]) -> Callable[[Position], Part]:
    return lambda find: make(find(found["column"]), found)


_PARTS: list[tuple[list[Token], Callable[[int, dict[str, Any]], Part]]] = [
    (LENGTH, lambda column, _found: Length(column)),
    (CAST, lambda column, found: Value(column, int(found["size"]))),
    (IMAGE, lambda column, found: Value(column, int(found["size"]), image=True)),
    (DATE, lambda column, found: Value(column, int(found["size"]), style=121)),
    (MONEY, lambda column, found: Value(column, int(found["size"]), style=2)),
]
