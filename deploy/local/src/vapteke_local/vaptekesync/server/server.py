"""The running stand-in as its owner sees it: its rows, its faults, its counters, its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from vapteke_local.vaptekesync.protocol.packets import Connection
from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.session import session
from vapteke_local.vaptekesync.session.faults import Fault, FaultKind, Faults
from vapteke_local.vaptekesync.session.state import ServerState, Stats
from vapteke_local.vaptekesync.table import changes as row_changes
from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.table.journal import Journal
from vapteke_local.vaptekesync.table.rows import Rows


class Server:
    """Made by `start.serve`. Call its methods on the thread of its event loop."""

    def __init__(self, state: ServerState, journal: Journal) -> None:
        self._state = state
        self._journal = journal
        self._sessions: dict[Connection, asyncio.Task[None]] = {}
        self.host = ""
        self.port = 0
        self.control_port = 0

    @property
    def database(self) -> str:
        return self._state.account.database

    @property
    def user(self) -> str:
        return self._state.account.user

    @property
    def password(self) -> str:
        return self._state.account.password

    @property
    def table(self) -> Table:
        return self._state.database.rows.table

    @property
    def rows(self) -> Rows:
        """For reading only: change rows through put, remove and change."""
        return self._state.database.rows

    @property
    def stats(self) -> Stats:
        return self._state.stats

    @property
    def faults(self) -> Faults:
        return self._state.faults

    def set_fault(self, kind: FaultKind, **options: Any) -> Fault:
        """The options are the fields of Fault. Several faults may be active at once."""
        return self.faults.set(kind, **options)

    def clear_faults(self) -> None:
        """Ends all faults. Connections that a fault has silenced stay silent."""
        self.faults.clear()

    def set_database(self, state: str = "ONLINE", access: str = "MULTI_USER") -> None:
        """Sets the columns of sys.databases. With other values than the defaults, nobody can log in to the database."""
        self._state.database.state, self._state.database.access = state, access

    def put(self, values: Mapping[str, Any]) -> None:
        """Changes the row with that key, or adds it with NULL in other columns. Values are as in `table/changes.py`."""
        given = {name.casefold(): value for name, value in values.items()}.get(self.table.key.casefold())
        key = row_changes.key(self.rows, {"id": given})
        if key is not None and key in self.rows:
            self.change({"do": "set", "id": given, "values": dict(values)})
        else:
            self.change({"do": "add", "values": dict(values)})

    def make_unreadable(self, key: Any, number: int = 8115, text: str = "Arithmetic overflow error.") -> None:
        """A SELECT that shows more of that row than its key fails with this error, after the rows before it."""
        self._state.database.unreadable[key] = SqlError(number, text)

    def make_readable(self, key: Any) -> None:
        del self._state.database.unreadable[key]

    def remove(self, key: Any) -> None:
        self.change({"do": "remove", "id": key})

    def change(self, command: dict[str, Any]) -> None:
        """Makes a `set`, `add`, `remove` or `table` as in `table/changes.py`, and writes it to the journal."""
        self._state.database.rows = self._journal.make(self.rows, command)

    def open_session(self, connection: Connection) -> None:
        self.stats.connections_accepted += 1
        self.stats.connections_open += 1
        self._sessions[connection] = asyncio.ensure_future(self._session(connection))

    async def _session(self, connection: Connection) -> None:
        if self.faults.take("connection"):
            self.stats.connections_refused += 1
            connection.transport.abort()
            return
        await session.serve(connection, self._state)

    def close_session(self, connection: Connection) -> None:
        self.stats.connections_open -= 1
        self._sessions.pop(connection).cancel()

    async def hang_up(self) -> None:
        """Closes the connections of all clients."""
        tasks = list(self._sessions.values())
        for connection, task in list(self._sessions.items()):
            task.cancel()
            connection.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
