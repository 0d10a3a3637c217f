"""The table's rows, stored as the bytes that are sent.

Each row is stored once, as the ROW token of `SELECT *` with each text cast to nvarchar. The importer reads exactly
this token, so a range for the importer is a slice of a list. The rows of other select lists are made from the stored
rows when they are first read, and kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

from vapteke_local.vaptekesync.table import fingerprints, projections
from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.table.fingerprints import Fingerprint
from vapteke_local.vaptekesync.table.projections import ROW, Item, Projection
from vapteke_local.vaptekesync.types import decoding, encoding, texts
from vapteke_local.vaptekesync.types.definitions import SqlType
from vapteke_local.vaptekesync.types.encoding import Encoder
from vapteke_local.vaptekesync.types.field_reader import FieldReader

CHUNK = 20_000


class BadValue(ValueError):
    """A value is not allowed in its column. The text of the exception names the column, never the value."""


class NoSuchRow(LookupError):
    """No row has that key."""


class DuplicateKey(ValueError):
    """Two rows would have the same key, but the key is unique."""


class Rows:
    """All rows of a table, in the order of their keys.

    Rows with a NULL key come first. They are in no range, and cannot be read, changed or removed by key. If several
    rows have the same key, only the first of them can. A row without a rowversion gets the next one, as does each row
    that is added or changed. Raises ValueError, for example BadValue or DuplicateKey, for invalid `rows`.
    """

    def __init__(self, table: Table, rows: Iterable[Sequence[Any]] = ()) -> None:
        self.table = table
        self._infos = projections.stored_infos(table)
        self._encoders = [_encoder(column.type, table.codepage) for column in table.columns]
        self._projections: dict[tuple[Item, ...], Projection | None] = {}
        self._fingerprints: dict[Fingerprint, dict[bytes, bytes]] = {}
        self._keys: list[Any] = []
        self._rows: list[bytes] = []
        self._keyless: list[bytes] = []
        self._rowversion = 0
        self._load(rows)

    def __len__(self) -> int:
        return len(self._keyless) + len(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return (self._values(row) for row in (*self._keyless, *self._rows))

    def range(self, above: Any, up_to: Any) -> list[bytes]:
        """The stored rows with above < key <= up_to, in order of the key. None as `above` means no lower bound."""
        return self._rows[self._slice(above, up_to)]

    def range_of(self, key: Any) -> list[bytes]:
        """The stored rows with this key."""
        return self._rows[bisect_left(self._keys, key) : bisect_right(self._keys, key)]

    def keys(self, above: Any, up_to: Any) -> list[Any]:
        """The keys of the rows that `range` returns for these bounds."""
        return self._keys[self._slice(above, up_to)]

    def different(self, column: int) -> list[Any]:
        """The different values of a column that is not a text, in any order. Faster than reading whole rows."""
        cut, info = projections.cutter(self.table, (Item(column),)), self._infos[column]
        cells = set(map(cut, (*self._keyless, *self._rows))) if cut else {*self._keyless, *self._rows}
        return [decoding.read_value(info, FieldReader(cell, len(ROW))) for cell in cells]

    def _slice(self, above: Any, up_to: Any) -> slice:
        return slice(0 if above is None else bisect_right(self._keys, above), bisect_right(self._keys, up_to))

    def boundaries(self, step: int, above: Any = None) -> list[tuple[Any, int]]:
        """(key, row number) of every `step`-th row, and of each row that is the last one or is followed by a NULL key.

        Row numbers begin with 1. The result is in order of the row numbers. With `above`, the rows with a greater key
        are numbered, and no others.
        """
        keyless = len(self._keyless) if above is None else 0
        keys = [None] * keyless + self._keys[0 if above is None else bisect_right(self._keys, above) :]
        if not keys:
            return []
        ends = [(keys[number - 1], number) for number in range(step, len(keys) + 1, step)]
        # LEAD is also NULL before a NULL key, so SQL Server would return each of those rows.
        ends += [(None, number) for number in range(1, keyless) if number % step]
        if len(keys) % step:
            ends.append((keys[-1], len(keys)))
        return sorted(ends, key=lambda end: end[1])

    def show(self, items: tuple[Item, ...], fingerprint: Fingerprint | None, rows: Sequence[bytes]) -> Sequence[bytes]:
        """The stored rows as ROW tokens of the select list `items` with the fingerprint, if any, in the same order."""
        if fingerprint is not None:
            cells = self.fingerprints(fingerprint, rows)
            return [row + cell for row, cell in zip(self.show(items, None, rows), cells, strict=True)]
        if items not in self._projections:
            cutter = projections.cutter(self.table, items)
            self._projections[items] = None if cutter is None else Projection(cutter)
        projection = self._projections[items]
        return rows if projection is None else [projection[row] for row in rows]

    def fingerprints(self, fingerprint: Fingerprint, rows: Sequence[bytes]) -> list[bytes]:
        """The fingerprints of the stored rows as bigint cells, in the same order."""
        made = self._fingerprints.setdefault(fingerprint, {})
        missing = [row for row in rows if row not in made]
        made.update(zip(missing, fingerprints.maker(self.table, fingerprint)(missing), strict=True))
        return [made[row] for row in rows]

    def get(self, key: Any) -> dict[str, Any]:
        row = self._rows[self._find(key)]
        return {column.name: value for column, value in zip(self.table.columns, self._values(row), strict=True)}

    def next_rowversion(self) -> int:
        """A rowversion greater than all that the table has had."""
        self._rowversion += 1
        return self._rowversion

    def add(self, values: Mapping[str, Any], rowversion: int | None = None) -> None:
        """Adds a row. Columns that are not named are NULL. Raises BadValue, DuplicateKey, UnknownColumn.

        `rowversion` is a result of `next_rowversion`; None means the next one. Tables without such a column ignore it.
        """
        cells = [None] * len(self.table.columns)
        self._insert(self._changed(cells, values, rowversion))

    def change(self, key: Any, values: Mapping[str, Any], rowversion: int | None = None) -> None:
        """Changes the named columns of a row. Raises NoSuchRow, BadValue, UnknownColumn; then nothing is changed.

        Another key in `values` is a BadValue: remove the row and add another. `rowversion` is as in `add`.
        """
        index = self._find(key)
        row = self._changed(self._values(self._rows[index]), values, rowversion)
        if row[self.table.key_position] != key:
            raise BadValue(f"column {self.table.key}: a key cannot be changed; remove the row and add another")
        encoded = self._encode(row)
        self._drop_shown(self._rows[index])
        self._rows[index] = encoded

    def remove(self, key: Any) -> None:
        index = self._find(key)
        self._drop_shown(self._rows[index])
        del self._rows[index], self._keys[index]

    def __contains__(self, key: Any) -> bool:
        if key is None:
            return False
        index = bisect_left(self._keys, key)
        return index < len(self._keys) and bool(self._keys[index] == key)

    def under(self, table: Table, names: Mapping[str, str]) -> Rows:
        """A copy of the rows under another definition, `table`. `names` is new name → old name of each renamed column.

        A column that the old definition does not have is NULL. Raises BadValue if a value or NULL does not fit its new
        column, and DuplicateKey.
        """
        sources = [self.table.positions.get(names.get(column.name, column.name).casefold()) for column in table.columns]
        return Rows(table, ([None if s is None else row[s] for s in sources] for row in self))

    def _load(self, rows: Iterable[Sequence[Any]]) -> None:
        pending = iter(rows)
        while chunk := list(islice(pending, CHUNK)):
            self._load_chunk(chunk)
        if any(before > after for before, after in pairwise(self._keys)):
            order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
            self._keys = [self._keys[index] for index in order]
            self._rows = [self._rows[index] for index in order]
        if self.table.key_is_unique and any(before == after for before, after in pairwise(self._keys)):
            raise DuplicateKey(f"two rows have the same {self.table.key}")

    def _load_chunk(self, chunk: list[Sequence[Any]]) -> None:
        columns = list(zip(*chunk, strict=True))
        if len(columns) != len(self.table.columns):
            raise ValueError(f"rows have {len(columns)} values, but the table has {len(self.table.columns)} columns")
        if (position := self.table.rowversion_position) is not None:
            columns[position] = self._rowversions(columns[position])
        cells = [self._encode_column(position, values) for position, values in enumerate(columns)]
        encoded = map(b"".join, zip([ROW] * len(chunk), *cells, strict=True))
        keys = columns[self.table.key_position]
        if None not in keys:
            self._keys += keys
            self._rows += encoded
            return
        for key, row in zip(keys, encoded, strict=True):
            self._append(key, row)

    def _rowversions(self, given: Sequence[int | None]) -> tuple[int, ...]:
        self._rowversion = max(self._rowversion, *(version or 0 for version in given))
        return tuple(version or self.next_rowversion() for version in given)

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
            return encoding.encode_all(self._encoders[position], values)
        except (ValueError, TypeError, AttributeError) as error:
            reason = error if isinstance(error, ValueError) else f"not a value of type {column.type}"
            raise BadValue(f"column {column.name}: {reason}") from None

    def _encode(self, row: Sequence[Any]) -> bytes:
        return ROW + b"".join(self._encode_column(position, (value,))[0] for position, value in enumerate(row))

    def _insert(self, row: Sequence[Any]) -> None:
        encoded, key = self._encode(row), row[self.table.key_position]
        if key is None:
            self._keyless.append(encoded)
            return
        index = bisect_right(self._keys, key)
        if self.table.key_is_unique and index and self._keys[index - 1] == key:
            raise DuplicateKey(f"a row with {self.table.key} {key} exists already")
        self._keys.insert(index, key)
        self._rows.insert(index, encoded)

    def _find(self, key: Any) -> int:
        if key not in self:
            raise NoSuchRow(f"no row with {self.table.key} {key}")
        return bisect_left(self._keys, key)

    def _changed(self, row: Sequence[Any], values: Mapping[str, Any], rowversion: int | None) -> list[Any]:
        changed = list(row)
        for name, value in values.items():
            changed[self.table.position(name)] = value
        if (position := self.table.rowversion_position) is not None:
            changed[position] = rowversion or self.next_rowversion()
            self._rowversion = max(self._rowversion, changed[position])
        return changed

    def _drop_shown(self, row: bytes) -> None:
        for projection in filter(None, self._projections.values()):
            projection.pop(row, None)
        for made in self._fingerprints.values():
            made.pop(row, None)

    def _values(self, row: bytes) -> tuple[Any, ...]:
        fields = FieldReader(row, len(ROW))
        return tuple(decoding.read_value(info, fields) for info in self._infos)


def _encoder(sql_type: SqlType, codepage: str) -> Encoder:
    if sql_type.is_text:
        return texts.stored_encoder(sql_type, codepage)
    return encoding.encoder(sql_type, codepage)
