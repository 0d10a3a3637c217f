"""Turns texts that a person has written into values, and values into the texts that SQL Server's CAST makes."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from vapteke_local.vaptekesync.types.definitions import DECIMALS, FLOATS, INTEGERS, MONEYS, SqlType


def from_text(sql_type: SqlType, value: Any) -> Any:
    """The value of `sql_type` that a person has written as text or JSON. Dates are in ISO 8601.

    None and `NULL` give None, so nobody can write the text `NULL`. A text type takes str() of any other value, and a
    whole number cuts off the decimals of a JSON number. Raises ValueError for a text that is not a value of the type,
    and TypeError for JSON of another kind, such as a list as a number.
    """
    if value is None or value == "NULL":
        return None
    try:
        return _parsed(sql_type, value)
    except ArithmeticError:  # what Decimal raises for a text that is no number, and int for an infinite number
        raise ValueError(f"not a value of type {sql_type}") from None


def _parsed(sql_type: SqlType, value: Any) -> Any:
    if sql_type.is_text:
        return str(value)
    if sql_type.name in INTEGERS:
        return int(value)
    if sql_type.name == "bit":
        return _bit_from_text(str(value))
    if sql_type.name == "date":
        return date.fromisoformat(str(value))
    if sql_type.name in FLOATS:
        return float(value)
    if sql_type.name in DECIMALS or sql_type.name in MONEYS:
        return Decimal(str(value))
    if sql_type.name == "datetimeoffset":
        return datetime.fromisoformat(str(value))
    return _without_zone(datetime.fromisoformat(str(value)))


def _bit_from_text(text: str) -> bool:
    known = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in known:
        raise ValueError("a bit is 0, 1, true or false")
    return known[text.lower()]


def _without_zone(value: datetime) -> datetime:
    if value.tzinfo is not None:
        raise ValueError("the column has no time zone: write the instant without one")
    return value


def to_text(sql_type: SqlType, value: Any) -> str:
    """The text that SQL Server's CAST(value AS nvarchar) gives.

    For a datetimeoffset, it is the text that CONVERT with style 126 gives. Values of the types real, float, money,
    smallmoney and smalldatetime are written in Python's form instead.
    """
    if sql_type.name == "bit":
        return str(int(value))
    if sql_type.name == "datetime":
        hour = value.hour % 12 or 12
        return f"{value:%b} {value.day:2d} {value.year} {hour:2d}:{value:%M%p}"
    if sql_type.name == "datetime2":
        fraction = f".{value.microsecond:06d}0"[: sql_type.size + 1] if sql_type.size else ""
        return f"{value:%Y-%m-%d %H:%M:%S}{fraction}"
    if sql_type.name == "datetimeoffset":
        return _datetimeoffset_text(value)
    return str(value)


def to_styled_text(sql_type: SqlType, value: Any, style: int | None) -> str:
    """The text that SQL Server's CONVERT(nvarchar, value, style) gives, for the styles 121 and 2; None is CAST.

    Style 121 shows all parts of a date, and style 2 all four decimals of a money.
    """
    if style == 121 and sql_type.name == "datetimeoffset":
        text = _datetimeoffset_text(value).replace("T", " ")
        return f"{text[:27]} {text[27:]}"
    if style == 121 and sql_type.name in ("datetime", "smalldatetime"):
        return str(value.isoformat(" ", "milliseconds"))
    if style == 2 and sql_type.name in MONEYS:
        return f"{value:.4f}"
    return to_text(sql_type, value)


def _datetimeoffset_text(value: datetime) -> str:
    """The text that CONVERT(nvarchar(40), value, 126) gives: ISO 8601 with seven decimals and the offset."""
    text = value.isoformat(timespec="microseconds")
    return f"{text[:26]}0{text[26:]}"
