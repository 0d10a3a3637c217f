"""The table's rows, kept as the bytes that travel.

Every row is held once, as the ROW token of `SELECT *` with each varchar cast to nvarchar: the list that the importer
reads, so its ranges are slices of a list. Other select lists are cut out of those bytes, row by row, when they are
first read, and remembered.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

from vapteke_local.vaptekesync import sqltypes
from vapteke_local.vaptekesync.reading import Fields
from vapteke_local.vaptekesync.sqltypes import MAX, Encoder, SqlType
from vapteke_local.vaptekesync.table import Table

ROW = b"\xd1"
CHUNK = 20_000


class BadValue(ValueError):
    """A column cannot hold the value. The text names the column, never the value."""


class NoSuchRow(LookupError):
    """No row has that key."""


class DuplicateKey(ValueError):
    """The key is unique and taken."""


class Item(NamedTuple):
    """One item of a select list: a column, plain or cast to nvarchar of so many characters."""

    column: int
    cast: int | None = None


class Projection(dict[bytes, bytes]):
    """Stored row to the row that one select list shows."""

    def __init__(self, cut: Callable[[bytes], bytes]) -> None:
        self._cut = cut

    def __missing__(self, row: bytes) -> bytes:
        shown = self[row] = self._cut(row)
        return shown


class Rows:
    """Rows without a key (NULL) come first in order, and no range holds them."""

    def __init__(self, table: Table, rows: Iterable[Sequence[Any]] = ()) -> None:
        self.table = table
        self._types = [_stored(column.type) for column in table.columns]
        self._infos = [_info(sql_type, table) for sql_type in self._types]
        self._encoders = [_encoder(column.type, table.codepage) for column in table.columns]
        self._projections: dict[tuple[Item, ...], Projection] = {}
        self._keys: list[Any] = []
        self._rows: list[bytes] = []
        self._keyless: list[bytes] = []
        self._load(rows)

    def __len__(self) -> int:
        return len(self._keyless) + len(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self._values(row) for row in (*self._keyless, *self._rows))

    def range(self, above: Any, up_to: Any) -> list[bytes]:
        """Stored rows with above < key <= up_to, in order of the key; None for no lower bound."""
        start = 0 if above is None else bisect_right(self._keys, above)
        return self._rows[start : bisect_right(self._keys, up_to)]

    def boundaries(self, step: int) -> list[tuple[Any, int]]:
        """(key, number) of every step-th row in order, and of the row that no key follows."""
        keys = [None] * len(self._keyless) + self._keys
        if not keys:
            return []
        ends = [(keys[number - 1], number) for number in range(step, len(keys) + 1, step)]
        # LEAD is NULL before a NULL key too: SQL Server would name each of those rows.
        ends += [(None, number) for number in range(1, len(self._keyless)) if number % step]
        if len(keys) % step:
            ends.append((keys[-1], len(keys)))
        return sorted(ends, key=lambda end: end[1])

    def show(self, items: tuple[Item, ...], rows: Sequence[bytes]) -> Sequence[bytes]:
        """Stored rows as a select list shows them."""
        if self._is_stored_form(items):
            return rows
        projection = self._projections.get(items)
        if projection is None:
            projection = self._projections[items] = Projection(self._cutter(items))
        return [projection[row] for row in rows]

    def get(self, key: Any) -> dict[str, Any]:
        row = self._rows[self._find(key)]
        return {column.name: value for column, value in zip(self.table.columns, self._values(row), strict=True)}

    def add(self, values: Mapping[str, Any]) -> None:
        """A column that is not named is NULL. Raises BadValue, DuplicateKey, UnknownColumn."""
        cells = [None] * len(self.table.columns)
        self._insert(self._changed(cells, values))

    def change(self, key: Any, values: Mapping[str, Any]) -> None:
        """Columns that are not named stay. Raises NoSuchRow, BadValue, UnknownColumn."""
        place = self._find(key)
        row = self._changed(self._values(self._rows[place]), values)
        if row[self.table.key_position] != key:
            raise BadValue(f"column {self.table.key}: a key is not changed; remove the row and add another")
        encoded = self._encode(row)
        self._forget(self._rows[place])
        self._rows[place] = encoded

    def put(self, values: Mapping[str, Any]) -> None:
        """Change the row with that key; add it when there is none."""
        key = self._changed([None] * len(self.table.columns), values)[self.table.key_position]
        if key is not None and key in self:
            self.change(key, values)
        else:
            self.add(values)

    def remove(self, key: Any) -> None:
        place = self._find(key)
        self._forget(self._rows[place])
        del self._rows[place], self._keys[place]

    def __contains__(self, key: Any) -> bool:
        place = bisect_left(self._keys, key)
        return place < len(self._keys) and bool(self._keys[place] == key)

    def under(self, table: Table, names: Mapping[str, str]) -> Rows:
        """These rows in another definition: columns keep their name, or had the name here that `names` gives."""
        sources = [self.table.positions.get(names.get(column.name, column.name).casefold()) for column in table.columns]
        return Rows(table, ([None if s is None else row[s] for s in sources] for row in self))

    def _load(self, rows: Iterable[Sequence[Any]]) -> None:
        pending = iter(rows)
        while chunk := list(islice(pending, CHUNK)):
            self._load_chunk(chunk)
        if any(before > after for before, after in pairwise(self._keys)):
            order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
            self._keys = [self._keys[place] for place in order]
            self._rows = [self._rows[place] for place in order]
        if self.table.key_is_unique and any(before == after for before, after in pairwise(self._keys)):
            raise DuplicateKey(f"two rows with one key {self.table.key}")

    def _load_chunk(self, chunk: list[Sequence[Any]]) -> None:
        columns = list(zip(*chunk, strict=True))
        if len(columns) != len(self.table.columns):
            raise ValueError(f"rows of {len(columns)} values for a table of {len(self.table.columns)} columns")
        cells = [self._encode_column(position, values) for position, values in enumerate(columns)]
        encoded = map(b"".join, zip([ROW] * len(chunk), *cells, strict=True))
        keys = columns[self.table.key_position]
        if None not in keys:
            self._keys += keys
            self._rows += encoded
            return
        for key, row in zip(keys, encoded, strict=True):
            self._append(key, row)

    def _append(self, key: Any, row: bytes) -> None:
        if key is None:
            self._keyless.append(row)
        else:
            self._keys.append(key)
            self._rows.append(row)

    def _encode_column(self, position: int, values: Sequence[Any]) -> list[bytes]:
        column = self.table.columns[position]
        try:
            if not column.nullable and None in values:
                raise ValueError("does not allow NULL")
            return _encode_all(self._encoders[position], values)
        except (ValueError, TypeError, AttributeError) as error:
            reason = error if isinstance(error, ValueError) else f"a value that is no {column.type}"
            raise BadValue(f"column {column.name}: {reason}") from None

    def _encode(self, row: Sequence[Any]) -> bytes:
        return ROW + b"".join(self._encode_column(position, (value,))[0] for position, value in enumerate(row))

    def _insert(self, row: Sequence[Any]) -> None:
        encoded, key = self._encode(row), row[self.table.key_position]
        if key is None:
            self._keyless.append(encoded)
            return
        place = bisect_right(self._keys, key)
        if self.table.key_is_unique and place and self._keys[place - 1] == key:
            raise DuplicateKey(f"a row with {self.table.key} {key} is there")
        self._keys.insert(place, key)
        self._rows.insert(place, encoded)

    def _find(self, key: Any) -> int:
        if key not in self:
            raise NoSuchRow(f"no row with {self.table.key} {key}")
        return bisect_left(self._keys, key)

    def _changed(self, row: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
        changed = list(row)
        for name, value in values.items():
            changed[self.table.position(name)] = value
        return changed

    def _forget(self, row: bytes) -> None:
        for projection in self._projections.values():
            projection.pop(row, None)

    def _values(self, row: bytes) -> tuple[Any, ...]:
        fields = Fields(row, len(ROW))
        return tuple(sqltypes.read_value(info, fields) for info in self._infos)

    def _is_stored_form(self, items: tuple[Item, ...]) -> bool:
        if [item.column for item in items] != list(range(len(self.table.columns))):
            return False
        return all(self._convert(item) is None for item in items)

    def _cutter(self, items: tuple[Item, ...]) -> Callable[[bytes], bytes]:
        converters = [(item.column, self._convert(item)) for item in items]
        spans = [_span(sql_type) for sql_type in self._types]

        def cut(row: bytes) -> bytes:
            cells, start = [], len(ROW)
            for span in spans:
                end = span(row, start)
                cells.append(row[start:end])
                start = end
            return ROW + b"".join(
                [convert(cells[position]) if convert else cells[position] for position, convert in converters]
            )

        return cut

    def _convert(self, item: Item) -> Encoder | None:
        """Stored cell to the cell of an item; None when they are the same bytes."""
        stored, shown = self._types[item.column], self.shown_type(item)
        plain = self.table.columns[item.column].type
        if stored.is_text and shown.name == "nvarchar" and _holds(shown, stored):
            return None
        if shown == stored:
            return None
        encode = sqltypes.encoder(shown, self.table.codepage)
        if stored.size != MAX and shown.name == "varchar":
            return lambda cell: encode(None if cell == sqltypes.TEXT_NULL else cell[2:].decode("utf-16-le"))
        info = self._infos[item.column]

        def convert(cell: bytes) -> bytes:
            value = sqltypes.read_value(info, Fields(cell))
            if value is None or item.cast is None:
                return encode(value)
            text = sqltypes.to_text(plain, value)
            return encode(text if item.cast == MAX else text[: item.cast])

        return convert

    def shown_type(self, item: Item) -> SqlType:
        if item.cast is None:
            return self.table.columns[item.column].type
        return SqlType("nvarchar", item.cast)


def _stored(sql_type: SqlType) -> SqlType:
    return SqlType("nvarchar", sql_type.size) if sql_type.is_text else sql_type


def _holds(shown: SqlType, stored: SqlType) -> bool:
    """(max) and counted cells differ in form."""
    if MAX in (shown.size, stored.size):
        return shown.size == stored.size
    return shown.size >= stored.size


def _info(sql_type: SqlType, table: Table) -> sqltypes.TypeInfo:
    return sqltypes.read_type(Fields(sqltypes.describe(sql_type, table.collation_bytes)))


def _encode_all(encode: Encoder, values: Sequence[Any]) -> list[bytes]:
    """Names, dates, cities repeat: each different value is encoded once."""
    different = set(values)
    if len(different) * 2 > len(values):
        return list(map(encode, values))
    cells = {value: encode(value) for value in different}
    return list(map(cells.__getitem__, values))


def _encoder(sql_type: SqlType, codepage: str) -> Encoder:
    if sql_type.is_text:
        return sqltypes.stored_text_encoder(sql_type, codepage)
    return sqltypes.encoder(sql_type, codepage)


def _span(sql_type: SqlType) -> Callable[[bytes, int], int]:
    """Where the cell that starts at a place ends."""
    if not sql_type.is_text:
        return lambda row, start: start + 1 + row[start]
    return _long_end if sql_type.size == MAX else _text_end


def _text_end(row: bytes, start: int) -> int:
    size = row[start] | row[start + 1] << 8
    return start + 2 if size == 0xFFFF else start + 2 + size


def _long_end(row: bytes, start: int) -> int:
    if row[start : start + 8] == sqltypes.PLP_NULL:
        return start + 8
    size = int.from_bytes(row[start : start + 8], "little")
    return start + 8 + (4 + size if size else 0) + 4
