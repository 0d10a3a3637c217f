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
    """The database from which statements are answered.

    `clock` returns the current time in UTC, without a zone. `state` and `access` are the values of state_desc and
    user_access_desc in sys.databases, and `created_at` is create_date there. `object_id` is that of the table.
    """

    rows: Rows
    clock: Callable[[], datetime]
    name: str = "vAptekeSync"
    state: str = "ONLINE"
    access: str = "MULTI_USER"
    created_at: datetime = datetime(2020, 1, 1)
    object_id: int = 901578250
    unreadable: dict[Any, SqlError] = field(default_factory=dict)
    """Key of a row → the error of a SELECT of several columns that comes to the row."""

    @property
    def is_open(self) -> bool:
        return (self.state, self.access) == ("ONLINE", "MULTI_USER")

    def readable(self, above: Any, up_to: Any) -> tuple[int | None, SqlError | None]:
        """The number of rows before the first unreadable row of a range, and the error of that row.

        The range is above < key <= up_to. Returns (None, None) if all its rows are readable.
        """
        for count, key in enumerate(self.rows.keys(above, up_to) if self.unreadable else ()):
            if key in self.unreadable:
                return count, self.unreadable[key]
        return None, None
