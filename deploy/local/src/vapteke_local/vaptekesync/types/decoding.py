"""Decodes cells into values: the parameters of a procedure call, and the cells of stored rows."""

from __future__ import annotations

from typing import Any

from vapteke_local.vaptekesync.types import dates, numbers
from vapteke_local.vaptekesync.types.field_reader import FieldReader, Malformed
from vapteke_local.vaptekesync.types.texts import PLP_NULL
from vapteke_local.vaptekesync.types.type_info import (
    BINARY_CODES,
    DECIMAL_CODES,
    FIXED,
    LONG_TEXT_CODES,
    NARROW_TEXT_CODES,
    WIDE_TEXT_CODES,
    TypeInfo,
)


def read_value(info: TypeInfo, fields: FieldReader) -> Any:
    data = read_cell(info, fields)
    return None if data is None else _value(info, data)


def read_cell(info: TypeInfo, fields: FieldReader) -> bytes | None:
    """Reads one cell. Returns the bytes of the value without their length; None for NULL."""
    if info.code in FIXED:
        return fields.take(FIXED[info.code][1])
    if info.code in LONG_TEXT_CODES:
        size = fields.number(4)
        return None if size == 0xFFFFFFFF else fields.take(size)
    if info.code in WIDE_TEXT_CODES | NARROW_TEXT_CODES | BINARY_CODES:
        return read_chunks(fields) if info.size == 0xFFFF else _read_counted(fields)
    size = fields.number(1)
    return fields.take(size) if size else None


def _read_counted(fields: FieldReader) -> bytes | None:
    size = fields.number(2)
    return None if size == 0xFFFF else fields.take(size)


def read_chunks(fields: FieldReader) -> bytes | None:
    """Reads a cell of a (max) type. Returns the bytes of the value; None for NULL."""
    if fields.take(8) == PLP_NULL:
        return None
    chunks = []
    while size := fields.number(4):
        chunks.append(fields.take(size))
    return b"".join(chunks)


def _value(info: TypeInfo, data: bytes) -> Any:
    code = FIXED[info.code][0] if info.code in FIXED else info.code
    if code == 0x26:
        return numbers.decode_integer(data)
    if code in WIDE_TEXT_CODES or code == 0x63:
        return data.decode("utf-16-le")
    if code in NARROW_TEXT_CODES or code == 0x23:
        return data.decode(info.codepage, "replace")
    if code in BINARY_CODES or code == 0x24:
        return data
    decode = {
        0x68: numbers.decode_bit,
        0x28: dates.decode_date,
        0x6F: dates.decode_datetime,
        0x6D: numbers.decode_float,
        0x6E: numbers.decode_money,
        0x2B: dates.decode_datetimeoffset,
    }.get(code)
    if decode is not None:
        return decode(data)
    if code in DECIMAL_CODES:
        return numbers.decode_decimal(info.decimals, data)
    if code == 0x2A:
        return dates.decode_datetime2(info.decimals, data)
    raise Malformed(f"the stand-in cannot read a value of type 0x{code:02X}")
