"""The server: its sockets, its rows, its faults."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vapteke_local.vaptekesync import changes as row_changes
from vapteke_local.vaptekesync import controls, session
from vapteke_local.vaptekesync.backend import Backend, Stats
from vapteke_local.vaptekesync.changes import Journal
from vapteke_local.vaptekesync.encryption import Encryption
from vapteke_local.vaptekesync.faults import Fault, FaultKind, Faults
from vapteke_local.vaptekesync.login import Account
from vapteke_local.vaptekesync.packets import Connection
from vapteke_local.vaptekesync.rows import Rows
from vapteke_local.vaptekesync.statements import Database
from vapteke_local.vaptekesync.table import CUSTOMERS, Table
from vapteke_local.vaptekesync.tokens import SqlError


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Server:
    """Made by `serve`. Its methods belong to the thread of its event loop."""

    def __init__(self, backend: Backend, journal: Journal) -> None:
        self._backend = backend
        self._journal = journal
        self._sessions: dict[Connection, asyncio.Task[None]] = {}
        self.host = ""
        self.port = 0
        self.control_port = 0

    @property
    def database(self) -> str:
        return self._backend.account.database

    @property
    def user(self) -> str:
        return self._backend.account.user

    @property
    def password(self) -> str:
        return self._backend.account.password

    @property
    def table(self) -> Table:
        return self._backend.database.rows.table

    @property
    def rows(self) -> Rows:
        """To look at: changes go through put, remove and change."""
        return self._backend.database.rows

    @property
    def stats(self) -> Stats:
        return self._backend.stats

    @property
    def faults(self) -> Faults:
        return self._backend.faults

    def set_fault(self, kind: FaultKind, **options: Any) -> Fault:
        """The options are the fields of Fault. Several faults may be set at once."""
        return self.faults.set(kind, **options)

    def clear_faults(self) -> None:
        """Connections that a fault has silenced stay silent."""
        self.faults.clear()

    def set_database(self, state: str = "ONLINE", access: str = "MULTI_USER") -> None:
        """As in sys.databases; in another state nobody can log in to it."""
        self._backend.database.state, self._backend.database.access = state, access

    def put(self, values: Mapping[str, Any]) -> None:
        """Change the row with that key, or add it; a new row's missing columns are NULL. Values as in `changes`."""
        given = {name.casefold(): value for name, value in values.items()}.get(self.table.key.casefold())
        key = row_changes.key(self.rows, {"id": given})
        if key is not None and key in self.rows:
            self.change({"do": "set", "id": given, "values": dict(values)})
        else:
            self.change({"do": "add", "values": dict(values)})

    def make_unreadable(self, key: Any, number: int = 8115, text: str = "Arithmetic overflow error.") -> None:
        """A SELECT that shows more of that row than its key fails with this error, after the rows before it."""
        self._backend.database.unreadable[key] = SqlError(number, text)

    def make_readable(self, key: Any) -> None:
        del self._backend.database.unreadable[key]

    def remove(self, key: Any) -> None:
        self.change({"do": "remove", "id": key})

    def change(self, command: dict[str, Any]) -> None:
        """A `set`, `add`, `remove` or `table` as in `changes`: made, then kept in the journal."""
        self._backend.database.rows = self._journal.make(self.rows, command)

    def open_session(self, connection: Connection) -> None:
        self.stats.connections_accepted += 1
        self.stats.connections_open += 1
        self._sessions[connection] = asyncio.ensure_future(self._session(connection))

    async def _session(self, connection: Connection) -> None:
        if self.faults.take("connection"):
            self.stats.connections_refused += 1
            connection.transport.abort()
            return
        await session.serve(connection, self._backend)

    def close_session(self, connection: Connection) -> None:
        self.stats.connections_open -= 1
        self._sessions.pop(connection).cancel()

    async def hang_up(self) -> None:
        """Every client's connection is cut."""
        tasks = list(self._sessions.values())
        for connection, task in list(self._sessions.items()):
            task.cancel()
            connection.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def serve(
    rows: Iterable[Sequence[Any]] = (),
    table: Table = CUSTOMERS,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    database: str = "vAptekeSync",
    user: str = "vaptekesync_user",
    password: str = "vaptekesync-password",
    control_port: int | None = None,
    changes: Path | None = None,
    clock: Callable[[], datetime] = utc_now,
    encryption: Encryption | None = None,
) -> AsyncIterator[Server]:
    """A running server. Port 0 is a free one; without `control_port` there is no control door, without
    `encryption` no TLS.

    `rows` are tuples in the table's order. `changes` is a file of row changes: made again at the start, then added to.
    """
    journal = Journal(changes)
    current = journal.replay(Rows(table, rows))
    server = Server(Backend(Account(database, user, password), Database(current, clock, database), encryption), journal)
    loop = asyncio.get_running_loop()
    factory = functools.partial(Connection, server.open_session, server.close_session)
    listener = await loop.create_server(factory, host, port, backlog=512)
    server.host, server.port = listener.sockets[0].getsockname()[:2]
    try:
        async with controls.door(server, host, control_port):
            yield server
    finally:
        listener.close()
        await server.hang_up()
        journal.close()
