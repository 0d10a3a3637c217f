"""Values read off the wire: the parameters of a call, and the cells of stored rows."""

from __future__ import annotations

import struct
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from vapteke_local.vaptekesync import further_types
from vapteke_local.vaptekesync.reading import Fields, Malformed
from vapteke_local.vaptekesync.sqltypes import PLP_NULL

CODEPAGES = {0x419: "cp1251", 0x409: "cp1252"}


class TypeInfo(NamedTuple):
    code: int
    size: int
    decimals: int = 0
    codepage: str = "cp1251"


FIXED = {0x30: (0x26, 1), 0x34: (0x26, 2), 0x38: (0x26, 4), 0x7F: (0x26, 8), 0x32: (0x68, 1), 0x3D: (0x6F, 8)}
ONE_BYTE_SIZES = {0x24, 0x26, 0x68, 0x6D, 0x6E, 0x6F}
DECIMALS = {0x6A, 0x6C}
TIMES = {0x29, 0x2A, 0x2B}
BINARIES = {0xA5, 0xAD}
WIDE_TEXTS = {0xE7, 0xEF}
NARROW_TEXTS = {0xA7, 0xAF}
LONG_TEXTS = {0x63, 0x23}


def read_type(fields: Fields) -> TypeInfo:
    code = fields.number(1)
    if code in ONE_BYTE_SIZES:
        return TypeInfo(code, fields.number(1))
    if code in DECIMALS:
        size, _precision, scale = fields.take(3)
        return TypeInfo(code, size, scale)
    if code in TIMES:
        return TypeInfo(code, 0, fields.number(1))
    if code in BINARIES:
        return TypeInfo(code, fields.number(2))
    if code in WIDE_TEXTS | NARROW_TEXTS:
        return TypeInfo(code, fields.number(2), codepage=_read_codepage(fields))
    if code in LONG_TEXTS:
        return TypeInfo(code, fields.number(4), codepage=_read_codepage(fields))
    if code == 0x28 or code in FIXED:
        return TypeInfo(code, 0)
    raise Malformed(f"a parameter of type 0x{code:02X}, which the stand-in does not read")


def _read_codepage(fields: Fields) -> str:
    locale = int.from_bytes(fields.take(5)[:3], "little") & 0xFFFFF
    return CODEPAGES.get(locale, "cp1251")


def read_cell(info: TypeInfo, fields: Fields) -> bytes | None:
    """The bytes of one value, without its length; None for NULL."""
    if info.code in FIXED:
        return fields.take(FIXED[info.code][1])
    if info.code in LONG_TEXTS:
        size = fields.number(4)
        return None if size == 0xFFFFFFFF else fields.take(size)
    if info.code in WIDE_TEXTS | NARROW_TEXTS | BINARIES:
        return _read_long(fields) if info.size == 0xFFFF else _read_counted(fields)
    size = fields.number(1)
    return fields.take(size) if size else None


def _read_counted(fields: Fields) -> bytes | None:
    size = fields.number(2)
    return None if size == 0xFFFF else fields.take(size)


def _read_long(fields: Fields) -> bytes | None:
    if fields.take(8) == PLP_NULL:
        return None
    chunks = []
    while size := fields.number(4):
        chunks.append(fields.take(size))
    return b"".join(chunks)


def read_value(info: TypeInfo, fields: Fields) -> Any:
    data = read_cell(info, fields)
    return None if data is None else _value(info, data)


def _value(info: TypeInfo, data: bytes) -> Any:
    code = FIXED[info.code][0] if info.code in FIXED else info.code
    if code == 0x26:
        return int.from_bytes(data, "little", signed=len(data) > 1)
    if code in WIDE_TEXTS or code == 0x63:
        return data.decode("utf-16-le")
    if code in NARROW_TEXTS or code == 0x23:
        return data.decode(info.codepage, "replace")
    if code in BINARIES or code == 0x24:
        return data
    decode = {
        0x68: _bit,
        0x28: _date,
        0x6F: _datetime,
        0x6D: _float,
        0x6E: further_types.money,
        0x2B: further_types.datetimeoffset,
    }.get(code)
    if decode is not None:
        return decode(data)
    if code in DECIMALS:
        return _decimal(info, data)
    if code == 0x2A:
        return _datetime2(info, data)
    raise Malformed(f"a value of type 0x{code:02X}, which the stand-in does not read")


def _bit(data: bytes) -> bool:
    return data != b"\0"


def _float(data: bytes) -> float:
    number: float = struct.unpack("<d" if len(data) == 8 else "<f", data)[0]
    return number


def _decimal(info: TypeInfo, data: bytes) -> Decimal:
    digits = Decimal(int.from_bytes(data[1:], "little")).scaleb(-info.decimals)
    return digits if data[0] else -digits


def _date(data: bytes) -> date:
    return date.fromordinal(int.from_bytes(data, "little") + 1)


def _datetime(data: bytes) -> datetime:
    if len(data) == 4:
        days, minutes = struct.unpack("<HH", data)
        return datetime(1900, 1, 1) + timedelta(days=days, minutes=minutes)
    days, tick = struct.unpack("<iI", data)
    # To the millisecond, as SQL Server shows it: .000, .003, .007.
    return datetime(1900, 1, 1) + timedelta(days=days, milliseconds=(tick * 10 + 1) // 3)


def _datetime2(info: TypeInfo, data: bytes) -> datetime:
    tick, day = int.from_bytes(data[:-3], "little"), int.from_bytes(data[-3:], "little")
    return datetime.fromordinal(day + 1) + timedelta(microseconds=tick * 10 ** (7 - info.decimals) // 10)
