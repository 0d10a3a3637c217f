"""Select lists: how stored rows become the rows of a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.types import conversion, decoding, encoding, texts, type_info
from vapteke_local.vaptekesync.types.definitions import MAX, SqlType
from vapteke_local.vaptekesync.types.encoding import Encoder
from vapteke_local.vaptekesync.types.field_reader import FieldReader
from vapteke_local.vaptekesync.types.type_info import TypeInfo

ROW = b"\xd1"
Cutter = Callable[[bytes], bytes]
CellConverter = Callable[[bytes], bytes]


class Item(NamedTuple):
    """One item of a select list: the position of a column, and the size of the nvarchar to which it is cast.

    None as `cast` means that the column is not cast.
    """

    column: int
    cast: int | None = None


class Projection(dict[bytes, bytes]):
    """Stored row → the row that one select list shows. A shown row is made when it is first looked up, and kept."""

    def __init__(self, cut: Cutter) -> None:
        self._cut = cut

    def __missing__(self, row: bytes) -> bytes:
        shown = self[row] = self._cut(row)
        return shown


def shown_type(table: Table, item: Item) -> SqlType:
    return table.columns[item.column].type if item.cast is None else SqlType("nvarchar", item.cast)


def stored_infos(table: Table) -> list[TypeInfo]:
    """The type of each cell of a stored row, in the order of the columns."""
    return [_info(table, _stored(column.type)) for column in table.columns]


def cutter(table: Table, items: tuple[Item, ...]) -> Cutter | None:
    """A function that turns a stored row into the row that `items` show; None if both are the same bytes."""
    converters = [(item.column, _converter(table, item)) for item in items]
    if converters == [(position, None) for position in range(len(table.columns))]:
        return None
    split = splitter(table)

    def cut(row: bytes) -> bytes:
        cells = split(row)
        shown = [convert(cells[position]) if convert else cells[position] for position, convert in converters]
        return ROW + b"".join(shown)

    return cut


def splitter(table: Table) -> Callable[[bytes], list[bytes]]:
    """Returns a function that splits a stored row into its cells."""
    ends = [_end_finder(_stored(column.type)) for column in table.columns]

    def split(row: bytes) -> list[bytes]:
        cells, start = [], len(ROW)
        for find_end in ends:
            end = find_end(row, start)
            cells.append(row[start:end])
            start = end
        return cells

    return split


def _stored(sql_type: SqlType) -> SqlType:
    return SqlType("nvarchar", sql_type.size) if sql_type.is_text else sql_type


def _info(table: Table, sql_type: SqlType) -> TypeInfo:
    return type_info.read_type(FieldReader(type_info.describe(sql_type, table.collation_bytes)))


def _converter(table: Table, item: Item) -> CellConverter | None:
    """A function that turns a stored cell into the cell that `item` shows; None if both are the same bytes."""
    plain, shown = table.columns[item.column].type, shown_type(table, item)
    stored = _stored(plain)
    if shown == stored or (stored.is_text and shown.name == "nvarchar" and _holds(shown, stored)):
        return None
    encode = encoding.encoder(shown, table.codepage)
    if stored.size != MAX and shown.name in ("varchar", "char"):
        return lambda cell: encode(None if cell == texts.TEXT_NULL else cell[2:].decode("utf-16-le"))
    return _slow_converter(plain, _info(table, stored), item.cast, encode)


def _slow_converter(plain: SqlType, info: TypeInfo, cast: int | None, encode: Encoder) -> CellConverter:
    def convert(cell: bytes) -> bytes:
        value = decoding.read_value(info, FieldReader(cell))
        if value is None or cast is None:
            return encode(value)
        text = conversion.to_text(plain, value)
        return encode(text if cast == MAX else text[:cast])

    return convert


def _holds(shown: SqlType, stored: SqlType) -> bool:
    """Whether every cell of type `stored` is also a cell of type `shown`. Cells of (max) types have another form."""
    if MAX in (shown.size, stored.size):
        return shown.size == stored.size
    return shown.size >= stored.size


def _end_finder(sql_type: SqlType) -> Callable[[bytes, int], int]:
    """Returns a function that finds the end of a cell of this type, given the row and the start of the cell."""
    if not sql_type.is_text:
        return lambda row, start: start + 1 + row[start]
    return _long_end if sql_type.size == MAX else _text_end


def _text_end(row: bytes, start: int) -> int:
    size = row[start] | row[start + 1] << 8
    return start + 2 if size == 0xFFFF else start + 2 + size


def _long_end(row: bytes, start: int) -> int:
    if row[start : start + 8] == texts.PLP_NULL:
        return start + 8
    size = int.from_bytes(row[start : start + 8], "little")
    return start + 8 + (4 + size if size else 0) + 4
