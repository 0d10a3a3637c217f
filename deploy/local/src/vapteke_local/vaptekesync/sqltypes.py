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

from vapteke_local.vaptekesync import further_types

MAX = -1
INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
TEXTS = {"varchar": 8000, "nvarchar": 4000, "char": 8000, "nchar": 4000}
LONG_TEXTS = frozenset(("text", "ntext"))
WIDE = frozenset(("nvarchar", "nchar", "ntext"))
PADDED = frozenset(("char", "nchar"))
COLLATIONS = {
    "Cyrillic_General_CI_AS": (b"\x19\x04\xd0\x00\x00", "cp1251"),
    "Latin1_General_CI_AS": (b"\x09\x04\xd0\x00\x00", "cp1252"),
    "SQL_Latin1_General_CP1_CI_AS": (b"\x09\x04\xd0\x00\x34", "cp1252"),
}
DATETIME_EPOCH = date(1900, 1, 1).toordinal()
DATETIME_FIRST = datetime(1753, 1, 1)
TICKS_PER_DAY = 24 * 60 * 60 * 300
PLP_NULL = b"\xff" * 8
TEXT_NULL = b"\xff\xff"

Encoder = Callable[[Any], bytes]


class SqlType(NamedTuple):
    """`size` is characters of a text (MAX for `max`), or decimals of a datetime2 or decimal; the others have none."""

    name: str
    size: int = 0

    @property
    def is_text(self) -> bool:
        return self.name in TEXTS or self.name in LONG_TEXTS or self.name in further_types.NAMES_ONLY

    def __str__(self) -> str:
        if self.name in further_types.DECIMALS:
            return f"{self.name}({further_types.PRECISION},{self.size})"
        if self.name not in TEXTS and self.name != "datetime2":
            return self.name
        return f"{self.name}({'max' if self.size == MAX else self.size})"


def parse(text: str) -> SqlType:
    """`varchar(400)`, `nvarchar(max)`, `datetime2(3)`, `int`, …; ValueError for what the stand-in has not."""
    found = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(\d+|max)\s*(?:,\s*(\d+)\s*)?\))?\s*", text.lower())
    if found is None:
        raise ValueError(f"not a SQL type: {text}")
    name, size, scale = found.groups()
    if name in TEXTS:
        return SqlType(name, _text_size(name, size))
    if name == "datetime2":
        return SqlType(name, _decimals(size))
    if name in LONG_TEXTS or name in further_types.NAMES_ONLY:
        return SqlType(name, MAX)
    if name in further_types.DECIMALS:
        return SqlType(name, int(scale or 0))
    if name in further_types.MONEYS or name in further_types.FLOATS or name in ("smalldatetime", "datetimeoffset"):
        return SqlType(name)
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
    if sql_type.is_text:
        code, width = (0xA7, 1) if name in ("varchar", "char", "text") else (0xE7, 2)
        return struct.pack("<BH", code, 0xFFFF if size == MAX else size * width) + collation
    fixed = {"bit": b"\x68\x01", "date": b"\x28", "datetime": b"\x6f\x08", "datetime2": bytes((0x2A, size))}
    return fixed.get(name) or further_types.describe(name, size)


def encoder(sql_type: SqlType, codepage: str) -> Encoder:
    """Value to cell. ValueError for what the type cannot hold; None is its NULL."""
    name, size = sql_type
    if name in INTEGERS:
        return _integer_encoder(INTEGERS[name])
    if sql_type.is_text:
        return _text_encoder(size, codepage if name in ("varchar", "char", "text") else "utf-16-le")
    if name == "datetime2":
        return partial(_datetime2_cell, size)
    others: dict[str, Encoder] = {"bit": _bit_cell, "date": _date_cell, "datetime": _datetime_cell}
    return others.get(name) or further_types.encoder(name, size)


def stored_text_encoder(sql_type: SqlType, codepage: str) -> Encoder:
    """A varchar's value as the cell of an nvarchar: what its codepage lacks has become a question mark."""
    encode = encoder(SqlType("nvarchar", sql_type.size), codepage)
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
    if sql_type.name in further_types.FLOATS:
        return float(value)
    if sql_type.name in further_types.DECIMALS or sql_type.name in further_types.MONEYS:
        return Decimal(str(value))
    if sql_type.name == "datetimeoffset":
        return datetime.fromisoformat(str(value))
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
    if sql_type.name == "datetimeoffset":
        return further_types.datetimeoffset_text(value)
    return str(value)
