"""The parameters of a statement, and what an operand in it stands for."""

from __future__ import annotations

from typing import Any

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.sql.syntax import Parameter

Parameters = dict[str, Any]
"""Name in lower case, with its @ → value."""


def value_of(operand: Any, parameters: Parameters) -> Any:
    """The operand is a literal's value or a Parameter. Raises SqlError 137 for a parameter without a value."""
    if not isinstance(operand, Parameter):
        return operand
    if operand.name not in parameters:
        raise SqlError(137, f'Must declare the scalar variable "{operand.name}".', severity=15, state=2)
    return parameters[operand.name]
