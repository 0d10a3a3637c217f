"""Encodes dates and instants as bytes and decodes them (MS-TDS 2.2.5.4 and 2.2.5.5).

A function `…_cell` returns a whole cell: the length and the bytes, or NULL for None. A function `encode_…` returns only
the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

DATETIME_EPOCH = date(1900, 1, 1).toordinal()
DATETIME_FIRST = datetime(1753, 1, 1)
SMALL_FIRST, SMALL_LAST = datetime(1900, 1, 1), datetime(2079, 6, 6, 23, 59)
TICKS_PER_DAY = 24 * 60 * 60 * 300


def date_cell(value: date | None) -> bytes:
    return b"\0" if value is None else b"\x03" + (value.toordinal() - 1).to_bytes(3, "little")


_pack_datetime: Callable[[int, int, int], bytes] = struct.Struct("<BiI").pack


def datetime_cell(value: datetime | None) -> bytes:
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


def datetime2_cell(decimals: int, value: datetime | None) -> bytes:
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


def encode_smalldatetime(value: datetime) -> bytes:
    if not SMALL_FIRST <= value <= SMALL_LAST:
        raise ValueError("smalldatetime reaches from 1900 to 2079")
    return struct.pack("<HH", (value - SMALL_FIRST).days, value.hour * 60 + value.minute)


def encode_datetimeoffset(value: datetime) -> bytes:
    """The bytes of a datetimeoffset(7): the time since midnight in units of 100 ns, the day, and the offset in minutes.

    Time and day are in UTC. Raises ValueError for a value without an offset, and OverflowError for an instant that does
    not exist in UTC.
    """
    offset = value.utcoffset()
    if offset is None:
        raise ValueError("a datetimeoffset needs an offset")
    utc = value.astimezone(UTC)
    midnight = utc.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = (utc - midnight) // timedelta(microseconds=1) * 10
    day = (utc.toordinal() - 1).to_bytes(3, "little")
    return ticks.to_bytes(5, "little") + day + (offset // timedelta(minutes=1)).to_bytes(2, "little", signed=True)


def decode_date(data: bytes) -> date:
    return date.fromordinal(int.from_bytes(data, "little") + 1)


def decode_datetime(data: bytes) -> datetime:
    """The value of a datetime (eight bytes), rounded to the millisecond, or of a smalldatetime (four bytes)."""
    if len(data) == 4:
        days, minutes = struct.unpack("<HH", data)
        return datetime(1900, 1, 1) + timedelta(days=days, minutes=minutes)
    days, tick = struct.unpack("<iI", data)
    # To the millisecond, as SQL Server shows it: .000, .003, .007.
    return datetime(1900, 1, 1) + timedelta(days=days, milliseconds=(tick * 10 + 1) // 3)


def decode_datetime2(decimals: int, data: bytes) -> datetime:
    tick, day = int.from_bytes(data[:-3], "little"), int.from_bytes(data[-3:], "little")
    return datetime.fromordinal(day + 1) + timedelta(microseconds=tick * 10 ** (7 - decimals) // 10)


def decode_datetimeoffset(data: bytes) -> datetime:
    ticks, day = int.from_bytes(data[:5], "little"), int.from_bytes(data[5:8], "little")
    utc = datetime.fromordinal(day + 1).replace(tzinfo=UTC) + timedelta(microseconds=ticks // 10)
    return utc.astimezone(timezone(timedelta(minutes=int.from_bytes(data[8:], "little", signed=True))))
