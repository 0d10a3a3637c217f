"""The control port: JSON lines over TCP, one command or one answer per line.

| command                                                     | answer                                             |
|-------------------------------------------------------------|----------------------------------------------------|
| set, add, remove, table: see table/changes.py               | {"ok": true}                                       |
| commit, rollback: see table/transactions.py                 | {"ok": true}                                       |
| {"do": "fault", "kind": "drop", "rows": 3000, …}: see Fault | {"ok": true}                                       |
| {"do": "clear"}: ends all faults                            | {"ok": true}                                       |
| {"do": "get", "id": 5}                                      | {"ok": true, "row": {"ID": 5, …}}                  |
| {"do": "stats"}                                             | {"ok": true, "stats": {…}, "rows": N, "table": {…}} |

A command that fails, such as `get` for an unknown id: {"ok": false, "error": "…"}. A line above 1 MiB closes the
connection without an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from vapteke_local.vaptekesync.server.server import Server
from vapteke_local.vaptekesync.table import changes, definition, transactions

Command = dict[str, Any]
LONGEST_LINE = 1 << 20


@asynccontextmanager
async def control_port(server: Server, host: str, port: int | None) -> AsyncIterator[None]:
    """Accepts commands for `server` while the block runs, and sets `server.control_port` to the port.

    0 as `port` means a free port. None means no control port, and `server.control_port` stays 0.
    """
    if port is None:
        yield
        return
    clients: set[asyncio.StreamWriter] = set()
    listener = await asyncio.start_server(partial(_serve, server, clients), host, port, limit=LONGEST_LINE)
    server.control_port = listener.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        listener.close()
        for writer in clients:
            writer.transport.abort()


async def _serve(
    server: Server,
    clients: set[asyncio.StreamWriter],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    clients.add(writer)
    try:
        while line := await reader.readline():
            writer.write(json.dumps(answer(server, line), default=str, ensure_ascii=False).encode() + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):
        # The client is gone, or its line is too long: no answer can be sent.
        pass
    finally:
        clients.discard(writer)
        writer.close()


def answer(server: Server, line: bytes) -> Command:
    try:
        command = json.loads(line)
        if not isinstance(command, dict):
            raise ValueError("a command is a JSON object")
        return {"ok": True} | _do(server, command)
    except definition.UnknownColumn as error:
        return {"ok": False, "error": f"the table has no column {error}"}
    except (*changes.INVALID, TypeError) as error:
        return {"ok": False, "error": str(error)}


def _do(server: Server, command: Command) -> Command:
    action, options = command.get("do"), {name: value for name, value in command.items() if name != "do"}
    if action in changes.ACTIONS or action in transactions.ENDINGS:
        server.change(command)
    elif action == "fault":
        server.set_fault(**options)
    elif action == "clear":
        server.clear_faults()
    elif action == "get":
        return {"row": server.rows.get(changes.key(server.rows, command))}
    elif action == "stats":
        return _stats(server)
    else:
        raise ValueError("`do` is one of set, add, remove, table, commit, rollback, fault, clear, get, stats")
    return {}


def _stats(server: Server) -> Command:
    return {"stats": vars(server.stats), "rows": len(server.rows), "table": definition.to_json(server.table)}
