"""The running stand-in as the code that started it sees it: its rows, its faults, its counters, its sessions."""

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
from vapteke_local.vaptekesync.table import transactions
from vapteke_local.vaptekesync.table.definition import Table
from vapteke_local.vaptekesync.table.journal import Journal
from vapteke_local.vaptekesync.table.rows import Rows
from vapteke_local.vaptekesync.table.transactions import Transactions


class Server:
    """A running stand-in, made by `start.serve`. Call the methods only on the thread of its event loop."""

    def __init__(self, state: ServerState, journal: Journal) -> None:
        self._state = state
        self._journal = journal
        self._transactions = Transactions()
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
        """The current rows, for reading only. Change rows by put, remove or change, which write to the journal."""
        return self._state.database.rows

    @property
    def stats(self) -> Stats:
        return self._state.stats

    @property
    def faults(self) -> Faults:
        return self._state.faults

    def set_fault(self, kind: FaultKind, **options: Any) -> Fault:
        """Adds a fault and returns it. `options` are the other fields of Fault. Faults set earlier stay active.

        Raises ValueError for an unknown kind or option, or an invalid number. Other values are not checked.
        """
        return self.faults.set(kind, **options)

    def clear_faults(self) -> None:
        """Ends all faults. Connections that a fault has silenced stay silent."""
        self.faults.clear()

    def set_database(self, state: str = "ONLINE", access: str = "MULTI_USER") -> None:
        """Sets state_desc and user_access_desc of the database in sys.databases.

        With other values than the defaults, every login that names the database is rejected with error 4060. A login
        that names no database or `master`, and sessions that are open already, go on.
        """
        self._state.database.state, self._state.database.access = state, access

    def put(self, values: Mapping[str, Any]) -> None:
        """Changes the row whose key is in `values`. If there is no such row, adds one with NULL in the other columns.

        `values` have the form that `table/changes.py` describes. Raises one of changes.INVALID.
        """
        given = {name.casefold(): value for name, value in values.items()}.get(self.table.key.casefold())
        key = row_changes.key(self.rows, {"id": given})
        if key is not None and key in self.rows:
            self.change({"do": "set", "id": given, "values": dict(values)})
        else:
            self.change({"do": "add", "values": dict(values)})

    def make_unreadable(self, key: Any, number: int = 8115, text: str = "Arithmetic overflow error.") -> None:
        """From now on, a range SELECT of several columns fails with this error when it comes to the row with this key.

        The rows before that row are sent. A SELECT of the key alone does not fail. `make_readable` ends this.
        """
        self._state.database.unreadable[key] = SqlError(number, text)

    def make_readable(self, key: Any) -> None:
        del self._state.database.unreadable[key]

    def remove(self, key: Any) -> None:
        self.change({"do": "remove", "id": key})

    def change(self, command: dict[str, Any]) -> None:
        """Makes a change of rows or table and writes it to the journal. Raises one of changes.INVALID.

        `command` has the form that `table/changes.py` describes. An invalid one changes nothing. With a `transaction`,
        it is made and written when the transaction is committed: see `table/transactions.py`.
        """
        if command.get("do") in transactions.ENDINGS:
            self._end_transaction(command["do"], command["transaction"])
        elif "transaction" in command:
            self._transactions.hold(self.rows, command)
        else:
            self._transactions.check_locks(self.rows, command)
            self._make(self._versioned(command))

    def _versioned(self, command: dict[str, Any]) -> dict[str, Any]:
        """The command with the rowversion that it takes, so that a restarted server gives the row the same one."""
        if self.table.rowversion_position is None or command.get("do") not in ("set", "add"):
            return command
        return {**command, "rowversion": self.rows.next_rowversion()}

    def _end_transaction(self, ending: str, name: str) -> None:
        held = self._transactions.end(name)
        for command in held if ending == "commit" else ():
            self._make(command)

    def _make(self, command: dict[str, Any]) -> None:
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
        """Closes the connections of all clients and waits until their sessions have ended. New clients may connect."""
        tasks = list(self._sessions.values())
        for connection, task in list(self._sessions.items()):
            task.cancel()
            connection.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
