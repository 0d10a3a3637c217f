"""Remote procedure calls (MS-TDS 2.2.6.6): how drivers send statements with parameters."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from vapteke_local.vaptekesync.types import decoding, type_info
from vapteke_local.vaptekesync.types.field_reader import FieldReader

BY_NUMBER = {
    10: "sp_executesql",
    11: "sp_prepare",
    12: "sp_execute",
    13: "sp_prepexec",
    14: "sp_prepexecrpc",
    15: "sp_unprepare",
}
SEPARATORS = (0xFF, 0x80, 0xFE)


class Parameter(NamedTuple):
    name: str
    value: Any


class Call(NamedTuple):
    procedure: str
    parameters: list[Parameter]

    @property
    def values(self) -> list[Any]:
        return [parameter.value for parameter in self.parameters]


def without_headers(payload: bytes) -> bytes:
    """The payload of a batch, a call or a transaction request without ALL_HEADERS, with which it begins.

    The stand-in needs none of these headers.
    """
    return payload[int.from_bytes(payload[:4], "little") :]


def read_calls(payload: bytes) -> list[Call]:
    """The calls in an RPC message, in order. Raises Malformed for missing bytes or a type that cannot be read."""
    fields = FieldReader(without_headers(payload))
    calls = []
    while fields.left:
        calls.append(_read_call(fields))
    return calls


def _read_call(fields: FieldReader) -> Call:
    procedure = _read_procedure(fields)
    fields.take(2)
    parameters = []
    while fields.left and fields.data[fields.position] not in SEPARATORS:
        parameters.append(_read_parameter(fields))
    if fields.left:
        fields.take(1)
    return Call(procedure, parameters)


def _read_procedure(fields: FieldReader) -> str:
    length = fields.number(2)
    if length == 0xFFFF:
        number = fields.number(2)
        return BY_NUMBER.get(number, f"number {number}")
    return fields.take(2 * length).decode("utf-16-le")


def _read_parameter(fields: FieldReader) -> Parameter:
    name = fields.short_text()
    fields.take(1)
    return Parameter(name, decoding.read_value(type_info.read_type(fields), fields))


def declared_names(declaration: str | None = None) -> list[str]:
    """The names in a declaration such as `@P1 int, @P2 nvarchar(128)`, in order and in lower case; empty for None."""
    return [name.casefold() for name in re.findall(r"@\w+", declaration or "")]
