"""Encodes texts as cells: after two bytes of length, or in chunks for `max` (PLP, MS-TDS 2.2.5.2.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vapteke_local.vaptekesync.types.definitions import MAX, PADDED, WIDE, SqlType

PLP_NULL = b"\xff" * 8
TEXT_NULL = b"\xff\xff"


def encoder(size: int, encoding: str) -> Callable[[Any], bytes]:
    if size == MAX:
        return partial(_long_text_cell, encoding)

    def cell(value: str | None) -> bytes:
        if value is None:
            return TEXT_NULL
        if len(value) > size:
            raise ValueError(f"{len(value)} characters do not fit: the column takes {size}")
        data = value.encode(encoding, "replace")
        return len(data).to_bytes(2, "little") + data

    return cell


def _long_text_cell(encoding: str, value: str | None) -> bytes:
    if value is None:
        return PLP_NULL
    data = value.encode(encoding, "replace")
    chunk = len(data).to_bytes(4, "little") + data if data else b""
    return len(data).to_bytes(8, "little") + chunk + bytes(4)


def stored_encoder(sql_type: SqlType, codepage: str) -> Callable[[Any], bytes]:
    """Returns a function that encodes a text of `sql_type` as a cell of an nvarchar, the form in which rows are stored.

    For the types varchar, char and text, a character that the code page lacks becomes `?`. Spaces fill a char or nchar
    up to its size. The function raises ValueError for a text that is longer than the size.
    """
    encode = encoder(sql_type.size, "utf-16-le")
    if sql_type.name in PADDED:
        return lambda value: encode(value if value is None else _shown(sql_type, codepage, value).ljust(sql_type.size))
    if sql_type.name not in ("varchar", "text"):
        return encode

    def cell(value: str | None) -> bytes:
        if value is None or value.isascii():
            return encode(value)
        return encode(value.encode(codepage, "replace").decode(codepage))

    return cell


def _shown(sql_type: SqlType, codepage: str, value: str) -> str:
    return value if sql_type.name in WIDE else value.encode(codepage, "replace").decode(codepage)
