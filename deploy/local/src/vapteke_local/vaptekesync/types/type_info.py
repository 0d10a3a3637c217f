"""TYPE_INFO (MS-TDS 2.2.5.6): the bytes that describe a type, written and read."""

from __future__ import annotations

import struct
from typing import NamedTuple

from vapteke_local.vaptekesync.types.definitions import DECIMALS, FLOATS, INTEGERS, MAX, MONEYS, PRECISION, SqlType
from vapteke_local.vaptekesync.types.field_reader import FieldReader, Malformed

CODEPAGES = {0x419: "cp1251", 0x409: "cp1252"}
# A type of fixed length: the code of the nullable type with the same values, and its bytes.
FIXED = {0x30: (0x26, 1), 0x34: (0x26, 2), 0x38: (0x26, 4), 0x7F: (0x26, 8), 0x32: (0x68, 1), 0x3D: (0x6F, 8)}
ONE_BYTE_SIZE_CODES = {0x24, 0x26, 0x68, 0x6D, 0x6E, 0x6F}
DECIMAL_CODES = {0x6A, 0x6C}
TIME_CODES = {0x29, 0x2A, 0x2B}
BINARY_CODES = {0xA5, 0xAD}
WIDE_TEXT_CODES = {0xE7, 0xEF}
NARROW_TEXT_CODES = {0xA7, 0xAF}
LONG_TEXT_CODES = {0x63, 0x23}


class TypeInfo(NamedTuple):
    code: int
    size: int
    decimals: int = 0
    codepage: str = "cp1251"


def describe(sql_type: SqlType, collation: bytes) -> bytes:
    """The TYPE_INFO of a type.

    TYPE_INFO has the nullable form (INTN, BITN, DATETIMN) even for a column that forbids NULL, so that each type has
    only one form of cells.
    """
    name, size = sql_type
    if name in INTEGERS:
        return bytes((0x26, INTEGERS[name]))
    if sql_type.is_text:
        code, width = (0xA7, 1) if name in ("varchar", "char", "text") else (0xE7, 2)
        return struct.pack("<BH", code, 0xFFFF if size == MAX else size * width) + collation
    if name in DECIMALS:
        return bytes((DECIMALS[name], 17, PRECISION, size))
    if name in MONEYS:
        return bytes((0x6E, MONEYS[name]))
    if name in FLOATS:
        return bytes((0x6D, struct.calcsize(FLOATS[name])))
    return {
        "bit": b"\x68\x01",
        "date": b"\x28",
        "datetime": b"\x6f\x08",
        "smalldatetime": b"\x6f\x04",
        "datetime2": bytes((0x2A, size)),
        "datetimeoffset": bytes((0x2B, 7)),
    }[name]


def read_type(fields: FieldReader) -> TypeInfo:
    code = fields.number(1)
    if code in ONE_BYTE_SIZE_CODES:
        return TypeInfo(code, fields.number(1))
    if code in DECIMAL_CODES:
        size, _precision, scale = fields.take(3)
        return TypeInfo(code, size, scale)
    if code in TIME_CODES:
        return TypeInfo(code, 0, fields.number(1))
    if code in BINARY_CODES:
        return TypeInfo(code, fields.number(2))
    if code in WIDE_TEXT_CODES | NARROW_TEXT_CODES:
        return TypeInfo(code, fields.number(2), codepage=_read_codepage(fields))
    if code in LONG_TEXT_CODES:
        return TypeInfo(code, fields.number(4), codepage=_read_codepage(fields))
    if code == 0x28 or code in FIXED:
        return TypeInfo(code, 0)
    raise Malformed(f"the stand-in cannot read a parameter of type 0x{code:02X}")


def _read_codepage(fields: FieldReader) -> str:
    locale = int.from_bytes(fields.take(5)[:3], "little") & 0xFFFFF
    return CODEPAGES.get(locale, "cp1251")
