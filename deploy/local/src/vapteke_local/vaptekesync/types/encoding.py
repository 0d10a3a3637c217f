"""Encodes values as cells. A cell is the form of a value in a ROW token: its length, then its bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vapteke_local.vaptekesync.types import dates, numbers, texts
from vapteke_local.vaptekesync.types.definitions import DECIMALS, FLOATS, INTEGERS, MONEYS, SqlType

Encoder = Callable[[Any], bytes]


def encoder(sql_type: SqlType, codepage: str) -> Encoder:
    """Returns a function that turns a value of `sql_type` into a cell, and None into NULL.

    The function raises ValueError for a value that does not fit, but OverflowError for a number that is too large for a
    decimal, money or real. `codepage` is the encoding of varchar, char and text.
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


def _rare_encoder(name: str, size: int) -> Encoder:
    """Returns the encoder of a type that no column of the default table, CUSTOMERS, has."""
    if name in DECIMALS:
        return _nullable(partial(numbers.encode_decimal, size))
    if name in MONEYS:
        return _nullable(partial(numbers.encode_money, MONEYS[name]))
    if name in FLOATS:
        return _nullable(numbers.float_encoder(FLOATS[name]))
    encoders = {"smalldatetime": dates.encode_smalldatetime, "datetimeoffset": dates.encode_datetimeoffset}
    return _nullable(encoders[name])


def _nullable(encode: Encoder) -> Encoder:
    def cell(value: Any) -> bytes:
        if value is None:
            return b"\0"
        data = encode(value)
        return bytes((len(data),)) + data

    return cell
