"""Row fingerprints: the rowversion of a row, or 64 bits of the SHA-256 of a text that is made of its columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from vapteke_local.vaptekesync.table import projections
from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.types import conversion, decoding, encoding
from vapteke_local.vaptekesync.types.definitions import INTEGERS, MAX, WIDE, SqlType
from vapteke_local.vaptekesync.types.field_reader import FieldReader
from vapteke_local.vaptekesync.types.type_info import TypeInfo

_CONCAT_CHARACTERS = 4000
Show = Callable[[bytes], bytes]
"""Shows a cell as text in UTF-16. As in CONCAT, NULL is empty."""


@dataclass(frozen=True)
class Text:
    """A literal."""

    text: str


@dataclass(frozen=True)
class Length:
    """DATALENGTH of the column at this position."""

    column: int


@dataclass(frozen=True)
class Value:
    """CAST of a column to nvarchar(`size`), or CONVERT with a `style`. With `image`, CONVERT of its bytes as hex."""

    column: int
    size: int
    style: int | None = None
    image: bool = False


Part = Text | Length | Value


@dataclass(frozen=True)
class Hash:
    """SHA2_256 over the CONCAT of `parts`."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Rowversion:
    """The rowversion at this position."""

    column: int


Fingerprint = Hash | Rowversion


def maker(table: Table, fingerprint: Fingerprint) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Returns a function that makes the fingerprints of stored rows, as bigint cells in the same order."""
    split = projections.splitter(table)
    if isinstance(fingerprint, Rowversion):
        return lambda rows: [split(row)[fingerprint.column] for row in rows]
    infos = projections.stored_infos(table)
    shown = [_shown(table, infos, part) for part in fingerprint.parts]

    def make(rows: Sequence[bytes]) -> list[bytes]:
        if not rows:
            return []
        columns = list(zip(*map(split, rows), strict=True))
        arguments = [
            [show] * len(rows) if isinstance(show, bytes) else encoding.encode_all(show, columns[position])
            for position, show in shown
        ]
        return [_hashed(b"".join(text)) for text in zip(*arguments, strict=True)]

    return make


def _hashed(text: bytes) -> bytes:
    return b"\x08" + sha256(text[: _CONCAT_CHARACTERS * 2]).digest()[7::-1]


def _shown(table: Table, infos: list[TypeInfo], part: Part) -> tuple[int, Show | bytes]:
    """The position of a cell, and a function that shows it as an argument of CONCAT; of a literal, 0 and its text."""
    if isinstance(part, Text):
        return 0, part.text.encode("utf-16-le")
    kind, info = table.columns[part.column].type, infos[part.column]
    return part.column, _length(kind) if isinstance(part, Length) else _value(kind, info, part)


def _length(kind: SqlType) -> Show:
    if not kind.is_text:
        return lambda cell: _utf16(str(cell[0])) if cell[0] else b""
    width, read = 1 if kind.name in WIDE else 2, _text_bytes(kind)

    def show(cell: bytes) -> bytes:
        data = read(cell)
        return b"" if data is None else _utf16(str(len(data) // width))

    return show


def _value(kind: SqlType, info: TypeInfo, part: Value) -> Show:
    if part.image:
        return lambda cell: _utf16(cell[:0:-1].hex().upper())
    if kind.name in INTEGERS:
        return lambda cell: _utf16(str(int.from_bytes(cell[1:], "little", signed=cell[0] > 1))) if cell[0] else b""
    if kind.is_text:
        read = _text_bytes(kind)
        return lambda cell: (read(cell) or b"")[: part.size * 2]

    def show(cell: bytes) -> bytes:
        value: Any = decoding.read_value(info, FieldReader(cell))
        return b"" if value is None else _utf16(conversion.to_styled_text(kind, value, part.style)[: part.size])

    return show


def _text_bytes(kind: SqlType) -> Callable[[bytes], bytes | None]:
    """A function that returns the UTF-16 of a stored text; None for NULL."""
    if kind.size == MAX:
        return lambda cell: decoding.read_chunks(FieldReader(cell))
    return lambda cell: None if cell[:2] == b"\xff\xff" else cell[2:]


@lru_cache(2**12)  # the lengths repeat
def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le")
