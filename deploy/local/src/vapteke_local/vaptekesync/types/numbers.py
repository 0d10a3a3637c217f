"""Encodes whole numbers, bits, decimals, money and floats as bytes and decodes them (MS-TDS 2.2.5.4 and 2.2.5.5)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

MONEY_SCALE = 4


def integer_encoder(size: int) -> Callable[[Any], bytes]:
    pack: Callable[[int, int], bytes] = struct.Struct("<B" + {1: "B", 2: "h", 4: "i", 8: "q"}[size]).pack

    def cell(value: int | None) -> bytes:
        if value is None:
            return b"\0"
        try:
            return pack(size, value)
        except struct.error:
            raise ValueError(f"not a whole number of {size} bytes") from None

    return cell


def bit_cell(value: bool | None) -> bytes:
    return b"\0" if value is None else bytes((1, bool(value)))


def encode_decimal(scale: int, value: Decimal | int) -> bytes:
    scaled = Decimal(value).scaleb(scale)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"more than {scale} decimals")
    return bytes((scaled >= 0,)) + abs(int(scaled)).to_bytes(16, "little")


def encode_money(size: int, value: Decimal | int) -> bytes:
    """The bytes of the amount `value`, as a whole number of ten-thousandths. Further decimals are cut off.

    If `size` is 8, the four bytes of higher value come first. Raises OverflowError for an amount that does not fit.
    """
    data = int(Decimal(value).scaleb(MONEY_SCALE)).to_bytes(size, "little", signed=True)
    return data if size == 4 else data[4:] + data[:4]


def float_encoder(layout: str) -> Callable[[Any], bytes]:
    return struct.Struct(layout).pack


def decode_integer(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=len(data) > 1)


def decode_bit(data: bytes) -> bool:
    return data != b"\0"


def decode_decimal(scale: int, data: bytes) -> Decimal:
    digits = Decimal(int.from_bytes(data[1:], "little")).scaleb(-scale)
    return digits if data[0] else -digits


def decode_money(data: bytes) -> Decimal:
    ordered = data if len(data) == 4 else data[4:] + data[:4]
    return Decimal(int.from_bytes(ordered, "little", signed=True)).scaleb(-MONEY_SCALE)


def decode_float(data: bytes) -> float:
    number: float = struct.unpack("<d" if len(data) == 8 else "<f", data)[0]
    return number
