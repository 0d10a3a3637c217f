"""SQL Server's column types: which ones the stand-in knows, and how a type is written in SQL."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX = -1
ROWVERSIONS = ("rowversion", "timestamp")
INTEGERS = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8} | dict.fromkeys(ROWVERSIONS, 8)
"""Name → bytes. A rowversion is kept as the bigint to which it is cast; it cannot be selected without a cast."""
MONEYS = {"money": 8, "smallmoney": 4}
"""Name → bytes."""
FLOATS = {"float": "<d", "real": "<f"}
"""Name → format of `struct`."""
DECIMALS = {"decimal": 0x6A, "numeric": 0x6C}
"""Name → type code on the wire."""
PRECISION = 38
TEXTS = {"varchar": 8000, "nvarchar": 4000, "char": 8000, "nchar": 4000}
"""Name → characters at most, unless it is `max`."""
LONG_TEXTS = frozenset(("text", "ntext"))
WIDE = frozenset(("nvarchar", "nchar", "ntext"))
PADDED = frozenset(("char", "nchar"))
# The importer rejects these by their name alone, so their values are kept as texts.
NAMES_ONLY = frozenset(("binary", "geography", "geometry", "hierarchyid", "image", "sql_variant", "time"))
NAMES_ONLY |= {"uniqueidentifier", "varbinary", "xml"}
COLLATIONS = {
    "Cyrillic_General_CI_AS": (b"\x19\x04\xd0\x00\x00", "cp1251"),
    "Latin1_General_CI_AS": (b"\x09\x04\xd0\x00\x00", "cp1252"),
    "SQL_Latin1_General_CP1_CI_AS": (b"\x09\x04\xd0\x00\x34", "cp1252"),
}
"""Name → its bytes on the wire, its code page."""


class SqlType(NamedTuple):
    """The type of a column.

    `size` is the number of characters of a text, or the number of decimals of a datetime2, decimal or numeric. It is
    MAX for `max`, for `text` and `ntext`, and for the types in NAMES_ONLY. It is 0 for all other types.
    """

    name: str
    size: int = 0

    @property
    def is_text(self) -> bool:
        return self.name in TEXTS or self.name in LONG_TEXTS or self.name in NAMES_ONLY

    @property
    def is_rowversion(self) -> bool:
        return self.name in ROWVERSIONS

    def __str__(self) -> str:
        if self.name in DECIMALS:
            return f"{self.name}({PRECISION},{self.size})"
        if self.name not in TEXTS and self.name != "datetime2":
            return self.name
        return f"{self.name}({'max' if self.size == MAX else self.size})"


def parse(text: str) -> SqlType:
    """The type that is written in SQL as `text`, for example `varchar(400)`, `nvarchar(max)`, `datetime2(3)` or `int`.

    A decimal keeps only its scale, and always has 38 digits. A datetimeoffset always has 7 decimals. The size of a
    float, and of a type in NAMES_ONLY, is ignored. Raises ValueError for a type that is not supported.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(\d+|max)\s*(?:,\s*(\d+)\s*)?\))?\s*", text.lower())
    if found is None:
        raise ValueError(f"not a SQL type: {text}")
    name, size, scale = found.groups()
    if name in TEXTS:
        return SqlType(name, _text_size(name, size))
    if name == "datetime2":
        return SqlType(name, _decimals(size))
    if name in LONG_TEXTS or name in NAMES_ONLY:
        return SqlType(name, MAX)
    if name in DECIMALS:
        return SqlType(name, int(scale or 0))
    if name in MONEYS or name in FLOATS or name in ("smalldatetime", "datetimeoffset"):
        return SqlType(name)
    if size is None and (name in INTEGERS or name in ("bit", "date", "datetime")):
        return SqlType(name)
    raise ValueError(f"the stand-in does not support this SQL type: {text}")


def _text_size(name: str, size: str | None) -> int:
    if size == "max":
        return MAX
    if size is None or not 1 <= int(size) <= TEXTS[name]:
        raise ValueError(f"{name} needs a size from 1 to {TEXTS[name]}, or max")
    return int(size)


def _decimals(size: str | None) -> int:
    if size == "max" or int(size or 7) > 7:
        raise ValueError("datetime2 takes 0 to 7 decimals")
    return int(size or 7)
