"""SQL Server's types on the wire (MS-TDS 2.2.5.4 and 2.2.5.5): descriptions, cells, values.

A cell is a value as it stands in a ROW token: its length, then its bytes. The nullable forms (INTN, BITN, DATETIMN)
serve columns that forbid NULL too, so that a type has one kind of cell.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from vapteke_local.vaptekesync.reading import Fields, Malformed

MAX = -1
INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
TEXTS = {"varchar": 8000, "nvarchar": 4000}
COLLATIONS = {
    "Cyrillic_General_CI_AS": (b"\x19\x04\xd0\x00\x00", "cp1251"),
    "Latin1_General_CI_AS": (b"\x09\x04\xd0\x00\x00", "cp1252"),
    "SQL_Latin1_General_CP1_CI_AS": (b"\x09\x04\xd0\x00\x34", "cp1252"),
}
CODEPAGES = {0x419: "cp1251", 0x409: "cp1252"}
DATETIME_EPOCH = date(1900, 1, 1).toordinal()
DATETIME_FIRST = datetime(1753, 1, 1)
TICKS_PER_DAY = 24 * 60 * 60 * 300
PLP_NULL = b"\xff" * 8
TEXT_NULL = b"\xff\xff"

Encoder = Callable[[Any], bytes]


class SqlType(NamedTuple):
    """`size` is characters of a text (MAX for `max`) or decimals of a datetime2; the others have none."""

    name: str
    size: int = 0

    @property
    def is_text(self) -> bool:
        return self.name in TEXTS

    def __str__(self) -> str:
        if self.name not in TEXTS and self.name != "datetime2":
            return self.name
        return f"{self.name}({'max' if self.size == MAX else self.size})"


def parse(text: str) -> SqlType:
    """`varchar(400)`, `nvarchar(max)`, `datetime2(3)`, `int`, …; ValueError for what the stand-in has not."""
    found = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(\d+|max)\s*\))?\s*", text.lower())
    if found is None:
        raise ValueError(f"not a SQL type: {text}")
    name, size = found.groups()
    if name in TEXTS:
        return SqlType(name, _text_size(name, size))
    if name == "datetime2":
        return SqlType(name, _decimals(size))
    if size is None and (name in INTEGERS or name in ("bit", "date", "datetime")):
        return SqlType(name)
    raise ValueError(f"a SQL type that the stand-in has not: {text}")


def _text_size(name: str, size: str | None) -> int:
    if size == "max":
        return MAX
    if size is None or not 1 <= int(size) <= TEXTS[name]:
        raise ValueError(f"{name} wants a size from 1 to {TEXTS[name]}, or max")
    return int(size)


def _decimals(size: str | None) -> int:
    if size == "max" or int(size or 7) > 7:
        raise ValueError("datetime2 wants 0 to 7 decimals")
    return int(size or 7)


def describe(sql_type: SqlType, collation: bytes) -> bytes:
    """TYPE_INFO, as it stands in COLMETADATA and RETURNVALUE."""
    name, size = sql_type
    if name in INTEGERS:
        return bytes((0x26, INTEGERS[name]))
    if name in TEXTS:
        code, width = (0xE7, 2) if name == "nvarchar" else (0xA7, 1)
        return struct.pack("<BH", code, 0xFFFF if size == MAX else size * width) + collation
    fixed = {"bit": b"\x68\x01", "date": b"\x28", "datetime": b"\x6f\x08"}
    return fixed.get(name) or bytes((0x2A, size))


def encoder(sql_type: SqlType, codepage: str) -> Encoder:
    """Value to cell. ValueError for what the type cannot hold; None is its NULL."""
    name, size = sql_type
    if name in INTEGERS:
        return _integer_encoder(INTEGERS[name])
    if name in TEXTS:
        return _text_encoder(size, "utf-16-le" if name == "nvarchar" else codepage)
    if name == "datetime2":
        return partial(_datetime2_cell, size)
    others: dict[str, Encoder] = {"bit": _bit_cell, "date": _date_cell, "datetime": _datetime_cell}
    return others[name]


def stored_text_encoder(sql_type: SqlType, codepage: str) -> Encoder:
    """A varchar's value as the cell of an nvarchar: what its codepage lacks has become a question mark."""
    encode = encoder(SqlType("nvarchar", sql_type.size), codepage)
    if sql_type.name == "nvarchar":
        return encode

    def cell(value: str | None) -> bytes:
        if value is None or value.isascii():
            return encode(value)
        return encode(value.encode(codepage, "replace").decode(codepage))

    return cell


def _integer_encoder(size: int) -> Encoder:
    pack: Callable[[int, int], bytes] = struct.Struct("<B" + {1: "B", 2: "h", 4: "i", 8: "q"}[size]).pack

    def cell(value: int | None) -> bytes:
        if value is None:
            return b"\0"
        try:
            return pack(size, value)
        except struct.error:
            raise ValueError(f"not a whole number of {size} bytes") from None

    return cell


def _text_encoder(size: int, encoding: str) -> Encoder:
    if size == MAX:
        return partial(_long_text_cell, encoding)

    def cell(value: str | None) -> bytes:
        if value is None:
            return TEXT_NULL
        if len(value) > size:
            raise ValueError(f"{len(value)} characters where {size} fit")
        data = value.encode(encoding, "replace")
        return len(data).to_bytes(2, "little") + data

    return cell


def _long_text_cell(encoding: str, value: str | None) -> bytes:
    if value is None:
        return PLP_NULL
    data = value.encode(encoding, "replace")
    chunk = len(data).to_bytes(4, "little") + data if data else b""
    return len(data).to_bytes(8, "little") + chunk + bytes(4)


def _bit_cell(value: bool | None) -> bytes:
    return b"\0" if value is None else bytes((1, bool(value)))


def _date_cell(value: date | None) -> bytes:
    return b"\0" if value is None else b"\x03" + (value.toordinal() - 1).to_bytes(3, "little")


_pack_datetime: Callable[[int, int, int], bytes] = struct.Struct("<BiI").pack


def _datetime_cell(value: datetime | None) -> bytes:
    if value is None:
        return b"\0"
    if value < DATETIME_FIRST:
        raise ValueError("datetime begins with the year 1753")
    day = value.toordinal() - DATETIME_EPOCH
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    tick = seconds * 300 + (value.microsecond * 3 + 5000) // 10000
    if tick == TICKS_PER_DAY:
        day, tick = day + 1, 0
    return _pack_datetime(8, day, tick)


def _datetime2_cell(decimals: int, value: datetime | None) -> bytes:
    if value is None:
        return b"\0"
    midnight = datetime(value.year, value.month, value.day)
    microseconds = (value - midnight) // timedelta(microseconds=1)
    unit: int = 10 ** (7 - decimals)
    tick = (microseconds * 10 + unit // 2) // unit
    day = value.toordinal() - 1
    if tick == 86_400 * 10**decimals:
        day, tick = day + 1, 0
    size = _time_size(decimals)
    return bytes((size + 3,)) + tick.to_bytes(size, "little") + day.to_bytes(3, "little")


def _time_size(decimals: int) -> int:
    return 3 if decimals < 3 else 4 if decimals < 5 else 5


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
    decode = {0x68: _bit, 0x28: _date, 0x6F: _datetime, 0x6D: _float}.get(code)
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


def from_text(sql_type: SqlType, value: Any) -> Any:
    """What a person typed, as a value of the type: dates in ISO 8601, `NULL` for null."""
    if value is None or value == "NULL":
        return None
    if sql_type.is_text:
        return str(value)
    if sql_type.name in INTEGERS:
        return int(value)
    if sql_type.name == "bit":
        return _bit_from_text(str(value))
    if sql_type.name == "date":
        return date.fromisoformat(str(value))
    return _naive(datetime.fromisoformat(str(value)))


def _bit_from_text(text: str) -> bool:
    known = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in known:
        raise ValueError("a bit is 0, 1, true or false")
    return known[text.lower()]


def _naive(value: datetime) -> datetime:
    if value.tzinfo is not None:
        raise ValueError("the column carries no time zone: give the instant without one")
    return value


def to_text(sql_type: SqlType, value: Any) -> str:
    """CAST(value AS nvarchar): SQL Server's default style for each type."""
    if sql_type.name == "bit":
        return str(int(value))
    if sql_type.name == "datetime":
        hour = value.hour % 12 or 12
        return f"{value:%b} {value.day:2d} {value.year} {hour:2d}:{value:%M%p}"
    if sql_type.name == "datetime2":
        fraction = f".{value.microsecond:06d}0"[: sql_type.size + 1] if sql_type.size else ""
        return f"{value:%Y-%m-%d %H:%M:%S}{fraction}"
    return str(value)
