"""The result of a statement: its metadata, its rows, and the error that may follow the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vapteke_local.vaptekesync.protocol import token_stream
from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql.database import Database
from vapteke_local.vaptekesync.sql.parameters import Parameters
from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.table.projections import ROW
from vapteke_local.vaptekesync.types import encoding, type_info
from vapteke_local.vaptekesync.types.definitions import COLLATIONS, SqlType

Heading = tuple[str, SqlType]
"""Name and type of a column in a result."""


def unchanged(rows: Sequence[bytes]) -> Sequence[bytes]:
    return rows


class Result(NamedTuple):
    """The result of a statement.

    `metadata` is a COLMETADATA token, and `show` turns any part of `rows` into ROW tokens. `metadata` and `rows` are
    empty for a statement without a result (`done`).
    """

    metadata: bytes = b""
    rows: Sequence[bytes] = ()
    show: Callable[[Sequence[bytes]], Sequence[bytes]] = unchanged
    failure: SqlError | None = None
    """An error that is sent after the rows; None if the result ends normally."""


Run = Callable[[Parameters, Database], Result]
"""Runs a statement that was recognised."""


def metadata(headings: list[Heading], collation: bytes) -> bytes:
    return token_stream.columns([(name, type_info.describe(kind, collation)) for name, kind in headings])


def of_values(headings: list[Heading], values: list[tuple[Any, ...]], table: Table | None = None) -> Result:
    """The result that has the columns `headings` and the rows `values`.

    Texts have the collation of `table`, or Cyrillic_General_CI_AS if `table` is None.
    """
    collation, codepage = COLLATIONS[table.collation if table else "Cyrillic_General_CI_AS"]
    encoders = [encoding.encoder(kind, codepage) for _, kind in headings]
    rows = [ROW + b"".join(encode(v) for encode, v in zip(encoders, row, strict=True)) for row in values]
    return Result(metadata(headings, collation), rows)
