"""Types beside those of the default table (MS-TDS 2.2.5.4 and 2.2.5.5): numbers with a fraction, further dates.

Every cell is one byte of length and the value. Types that the importer refuses by their name are kept as texts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

PRECISION = 38
MONEY_SCALE = 4
MONEYS = {"money": 8, "smallmoney": 4}
FLOATS = {"float": "<d", "real": "<f"}
DECIMALS = {"decimal": 0x6A, "numeric": 0x6C}
NAMES_ONLY = frozenset(("binary", "geography", "geometry", "hierarchyid", "image", "rowversion", "sql_variant", "time"))
NAMES_ONLY |= {"timestamp", "uniqueidentifier", "varbinary", "xml"}
SMALL_FIRST, SMALL_LAST = datetime(1900, 1, 1), datetime(2079, 6, 6, 23, 59)

Encoder = Callable[[Any], bytes]


def describe(name: str, size: int) -> bytes:
    """TYPE_INFO; KeyError for a type that is none of these."""
    if name in DECIMALS:
        return bytes((DECIMALS[name], 17, PRECISION, size))
    if name in MONEYS:
        return bytes((0x6E, MONEYS[name]))
    if name in FLOATS:
        return bytes((0x6D, struct.calcsize(FLOATS[name])))
    return {"smalldatetime": b"\x6f\x04", "datetimeoffset": bytes((0x2B, 7))}[name]


def encoder(name: str, size: int) -> Encoder:
    """Value to cell, for what `describe` describes."""
    if name in DECIMALS:
        return _nullable(partial(_decimal, size))
    if name in MONEYS:
        return _nullable(partial(_money, MONEYS[name]))
    if name in FLOATS:
        return _nullable(struct.Struct(FLOATS[name]).pack)
    return _nullable({"smalldatetime": _smalldatetime, "datetimeoffset": _datetimeoffset}[name])


def _nullable(encode: Encoder) -> Encoder:
    def cell(value: Any) -> bytes:
        if value is None:
            return b"\0"
        data = encode(value)
        return bytes((len(data),)) + data

    return cell


def _decimal(scale: int, value: Decimal | int) -> bytes:
    scaled = Decimal(value).scaleb(scale)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"more than {scale} decimals")
    return bytes((scaled >= 0,)) + abs(int(scaled)).to_bytes(16, "little")


def _money(size: int, value: Decimal | int) -> bytes:
    """In ten-thousandths; of eight bytes, the higher four come first."""
    data = int(Decimal(value).scaleb(MONEY_SCALE)).to_bytes(size, "little", signed=True)
    return data if size == 4 else data[4:] + data[:4]


def money(data: bytes) -> Decimal:
    ordered = data if len(data) == 4 else data[4:] + data[:4]
    return Decimal(int.from_bytes(ordered, "little", signed=True)).scaleb(-MONEY_SCALE)


def _smalldatetime(value: datetime) -> bytes:
    if not SMALL_FIRST <= value <= SMALL_LAST:
        raise ValueError("smalldatetime reaches from 1900 to 2079")
    return struct.pack("<HH", (value - SMALL_FIRST).days, value.hour * 60 + value.minute)


def _datetimeoffset(value: datetime) -> bytes:
    """100 ns since midnight and the day, both in UTC, and the offset in minutes."""
    offset, utc = value.utcoffset(), value.astimezone(UTC)
    if offset is None:
        raise ValueError("a datetimeoffset wants an offset")
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = (utc - midnight) // timedelta(microseconds=1) * 10
    day = (utc.toordinal() - 1).to_bytes(3, "little")
    return ticks.to_bytes(5, "little") + day + (offset // timedelta(minutes=1)).to_bytes(2, "little", signed=True)


def datetimeoffset(data: bytes) -> datetime:
    ticks, day = int.from_bytes(data[:5], "little"), int.from_bytes(data[5:8], "little")
    utc = datetime.fromordinal(day + 1).replace(tzinfo=UTC) + timedelta(microseconds=ticks // 10)
    return utc.astimezone(timezone(timedelta(minutes=int.from_bytes(data[8:], "little", signed=True))))


def datetimeoffset_text(value: datetime) -> str:
    """CONVERT(nvarchar(40), value, 126)."""
    text = value.isoformat(timespec="microseconds")
    return f"{text[:26]}0{text[26:]}"
