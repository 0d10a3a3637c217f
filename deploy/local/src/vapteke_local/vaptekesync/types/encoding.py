"""Encodes values as cells. A cell is the form of a value in a ROW token: its length, then its bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vapteke_local.vaptekesync.types import dates, numbers, texts
from vapteke_local.vaptekesync.types.definitions import DECIMALS, FLOATS, INTEGERS, MONEYS, SqlType

Encoder = Callable[[Any], bytes]


def encoder(sql_type: SqlType, codepage: str) -> Encoder:
    """Returns a function that turns a value of `sql_type` into a cell, and None into NULL.

    The function raises ValueError for a value that does not fit. For a value of another Python type it may also raise
    TypeError or AttributeError. `codepage` is the encoding of varchar, char and text; a character that it lacks
    becomes `?`.
    """
    name, size = sql_type
    if name in INTEGERS:
        return numbers.integer_encoder(INTEGERS[name])
    if sql_type.is_text:
        return texts.encoder(size, codepage if name in ("varchar", "char", "text") else "utf-16-le")
    if name == "datetime2":
        return partial(dates.datetime2_cell, size)
    others: dict[str, Encoder] = {"bit": numbers.bit_cell, "date": dates.date_cell, "datetime": dates.datetime_cell}
    return others.get(name) or _rare_encoder(name, size)


def encode_all(encode: Encoder, values: Sequence[Any]) -> list[bytes]:
    """The cells of the values of one column, in the same order. If many values repeat, encodes each of them once."""
    different = set(values)
    if len(different) * 2 > len(values):
        return list(map(encode, values))
    cells = {value: encode(value) for value in different}
    return list(map(cells.__getitem__, values))


def _rare_encoder(name: str, size: int) -> Encoder:
    """Returns the encoder of a type that no column of the default table, CUSTOMERS, has."""
    return _nullable(name, _rare_encoding(name, size))


def _rare_encoding(name: str, size: int) -> Encoder:
    """Returns a function that turns a value other than None into its bytes, without their length."""
    if name in DECIMALS:
        return partial(numbers.encode_decimal, size)
    if name in MONEYS:
        return partial(numbers.encode_money, MONEYS[name])
    if name in FLOATS:
        return numbers.float_encoder(FLOATS[name])
    encoders = {"smalldatetime": dates.encode_smalldatetime, "datetimeoffset": dates.encode_datetimeoffset}
    return encoders[name]


def _nullable(name: str, encode: Encoder) -> Encoder:
    def cell(value: Any) -> bytes:
        if value is None:
            return b"\0"
        try:
            data = encode(value)
        except (ArithmeticError, struct.error):  # too large for the bytes, or not a number
            raise ValueError(f"not a {name}, or out of its range") from None
        return bytes((len(data),)) + data

    return cell
