"""The one database of the stand-in: its rows, its state and its clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.table.rows import Rows


@dataclass
class Database:
    """`clock` gives UTC without a zone. `state` and `access` have the values of sys.databases."""

    rows: Rows
    clock: Callable[[], datetime]
    name: str = "vAptekeSync"
    state: str = "ONLINE"
    access: str = "MULTI_USER"
    unreadable: dict[Any, SqlError] = field(default_factory=dict)
    """Key → the error of a SELECT that shows more of the row than its key."""

    @property
    def is_open(self) -> bool:
        return (self.state, self.access) == ("ONLINE", "MULTI_USER")

    def readable(self, above: Any, up_to: Any) -> tuple[int | None, SqlError | None]:
        """How many rows of a range come before the first unreadable one, and its error. None twice: all of them."""
        for count, key in enumerate(self.rows.keys(above, up_to) if self.unreadable else ()):
            if key in self.unreadable:
                return count, self.unreadable[key]
        return None, None
