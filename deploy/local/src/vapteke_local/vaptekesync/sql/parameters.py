"""The parameters of a statement, and the value of an operand: a parameter or a literal."""

from __future__ import annotations

from typing import Any

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql.syntax import Parameter

Parameters = dict[str, Any]
"""Name in lower case, with its @ → value."""


def value_of(operand: Any, parameters: Parameters) -> Any:
    """The value of an operand, which is a Parameter or already the value of a literal.

    Raises SqlError 137 for a Parameter that is not in `parameters`.
    """
    if not isinstance(operand, Parameter):
        return operand
    if operand.name not in parameters:
        raise SqlError(137, f'Must declare the scalar variable "{operand.name}".', severity=15, state=2)
    return parameters[operand.name]
