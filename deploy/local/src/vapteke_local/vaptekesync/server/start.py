"""Starts the stand-in: its port, its control port, its journal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vapteke_local.vaptekesync.protocol.encryption import Encryption
from vapteke_local.vaptekesync.protocol.login import Account
from vapteke_local.vaptekesync.protocol.packets import Connection
from vapteke_local.vaptekesync.server import control
from vapteke_local.vaptekesync.server.server import Server
from vapteke_local.vaptekesync.session.state import ServerState
from vapteke_local.vaptekesync.sql.database import Database
from vapteke_local.vaptekesync.table.definition import CUSTOMERS, Table
from vapteke_local.vaptekesync.table.journal import Journal
from vapteke_local.vaptekesync.table.rows import Rows


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


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
    """Runs a stand-in while the block runs, and yields the Server, which knows its ports. Port 0 means a free port.

    `rows` are tuples in the order of the table's columns. `changes` is the journal file: its changes are made again at
    the start, and new ones are appended. So give the same `rows` and `table` with the same file: a change that does not
    fit them raises one of changes.INVALID, as invalid `rows` do. If it is None, changes are lost at the end. None as
    `control_port` means no control port, None as `encryption` no TLS. `clock` returns the time in UTC without a zone.
    """
    journal = Journal(changes)
    current = journal.replay(Rows(table, rows))
    server = Server(
        ServerState(Account(database, user, password), Database(current, clock, database), encryption), journal
    )
    loop = asyncio.get_running_loop()
    factory = functools.partial(Connection, server.open_session, server.close_session)
    listener = await loop.create_server(factory, host, port, backlog=512)
    server.host, server.port = listener.sockets[0].getsockname()[:2]
    try:
        async with control.control_port(server, host, control_port):
            yield server
    finally:
        listener.close()
        await server.hang_up()
        journal.close()
