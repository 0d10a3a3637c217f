"""The statements that a client has prepared on its connection."""

from __future__ import annotations

from typing import NamedTuple

from vapteke_local.vaptekesync.protocol import procedure_calls
from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql.parameters import Parameters


class Prepared(NamedTuple):
    """A prepared statement. `names` are the names of the declared parameters, in order and in lower case."""

    sql: str
    names: list[str]

    def bind(self, given: list[procedure_calls.Parameter]) -> Parameters:
        """Name of a parameter, in lower case → value, from the parameters of a call.

        A value without a name belongs to the declared name at the same position. A missing value is not in the result.
        """
        by_position = dict(zip(self.names, (parameter.value for parameter in given), strict=False))
        return by_position | {parameter.name.casefold(): parameter.value for parameter in given if parameter.name}


def prepare(sql: str, declaration: str | None = None) -> Prepared:
    return Prepared(sql, procedure_calls.declared_names(declaration))


class Handles:
    def __init__(self) -> None:
        self._known: dict[int, Prepared] = {}
        self._last = 0

    def add(self, sql: str, declaration: str | None) -> int:
        self._last += 1
        self._known[self._last] = prepare(sql, declaration)
        return self._last

    def get(self, handle: int) -> Prepared:
        if handle not in self._known:
            raise SqlError(8179, f"Could not find prepared statement with handle {handle}.")
        return self._known[handle]

    def remove(self, handle: int | None) -> None:
        if handle is not None:
            self._known.pop(handle, None)

    def clear(self) -> None:
        self._known.clear()
