"""Statements that SQLAlchemy compiles once and asyncpg runs."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement


class Statement:
    """A statement of SQLAlchemy, compiled once to the SQL text and the order of parameters for asyncpg."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect.dialect()))  # type: ignore[no-untyped-call]
        self.text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()
        self._values = dict(compiled.params)

    def __call__(self, **values: Any) -> tuple[Any, ...]:
        """The SQL text and its arguments in order, for `connection.fetch(*statement(name=value))`.

        A parameter that is not given has the value from the statement, otherwise it is NULL. Unknown names are ignored.
        """
        return (self.text, *({**self._values, **values}[name] for name in self._names))
