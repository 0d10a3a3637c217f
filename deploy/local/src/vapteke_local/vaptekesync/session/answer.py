"""The answer to one request: results and errors, and the faults and cancellations that interrupt it."""

from __future__ import annotations

import asyncio

from vapteke_local.vaptekesync.protocol import token_stream
from vapteke_local.vaptekesync.protocol.login import SERVER_NAME
from vapteke_local.vaptekesync.protocol.packets import Connection, Reply
from vapteke_local.vaptekesync.protocol.token_stream import DONE_PROC, SqlError
from vapteke_local.vaptekesync.session.faults import Fault
from vapteke_local.vaptekesync.session.interruptions import Cancelled, Dropped, Silenced
from vapteke_local.vaptekesync.session.state import ServerState
from vapteke_local.vaptekesync.sql import statements
from vapteke_local.vaptekesync.sql.parameters import Parameters
from vapteke_local.vaptekesync.sql.results import Result

ROWS_PER_WRITE = 2_000
FATAL_SEVERITY = 20


class Answer:
    def __init__(self, connection: Connection, state: ServerState) -> None:
        self._connection = connection
        self._state = state
        self.reply = Reply(connection)

    def write(self, data: bytes) -> None:
        self.reply.write(data)

    def fail(self, error: SqlError, ending: bytes, status: int = 0) -> None:
        """Writes the error and the token that ends the answer. The caller finishes the message.

        `ending` is the kind of that token. `status` is added to it. If the error ends the connection, finishes the
        message itself and raises Dropped.
        """
        self.write(token_stream.error(error, SERVER_NAME))
        if ending == DONE_PROC:
            self.write(token_stream.return_status(error.number))
        self.write(token_stream.done(ending, status | token_stream.ERROR))
        if error.severity >= FATAL_SEVERITY:
            self.reply.finish()
            raise Dropped

    async def execute(self, sql: str, parameters: Parameters) -> int | None:
        """Runs a statement and writes its metadata and rows. The caller writes the token that ends the answer.

        Returns the number of rows; None for a statement without a result. Raises SqlError if the statement is not
        listed or fails, or a fault `fail` strikes, Cancelled if the client cancels it, Silenced or Dropped if a fault
        `silent` or `drop` strikes. If several faults strike, it waits for each delay, and only the first of the others
        has an effect.
        """
        statement = statements.compile_sql(sql)
        if statement.name == "done":
            return None
        self._state.stats.statements[statement.name] += 1
        faults = self._state.faults.take("statement", statement.name)
        for fault in faults:
            await self._wait(fault.seconds)
        interruption = next((fault for fault in faults if fault.kind != "delay"), None)
        if interruption is not None and interruption.rows is None:
            await self._interrupt(interruption)
        result = statement.run(parameters, self._state.database)
        await self._stream(result, interruption)
        return len(result.rows) if result.metadata else None

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._connection.attention.wait(), seconds)
        except TimeoutError:
            return
        raise Cancelled

    async def _stream(self, result: Result, interruption: Fault | None) -> None:
        self.write(result.metadata)
        rows = result.rows if interruption is None else result.rows[: interruption.rows]
        for start in range(0, len(rows), ROWS_PER_WRITE):
            if self._connection.attention.is_set():
                raise Cancelled
            block = rows[start : start + ROWS_PER_WRITE]
            self.write(b"".join(result.show(block)))
            self._state.stats.rows_sent += len(block)
            await self._connection.drained()
        if interruption is not None:
            await self._interrupt(interruption)
        if result.failure is not None:
            raise result.failure

    async def _interrupt(self, fault: Fault) -> None:
        if fault.kind == "fail":
            raise fault.error
        self.reply.send_pending()
        if fault.kind == "silent":
            raise Silenced
        await self._connection.flushed()
        self._connection.transport.abort()
        raise Dropped
