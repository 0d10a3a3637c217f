"""One client's session: the login, then an answer to each request."""

from __future__ import annotations

import asyncio
import logging

from vapteke_local.vaptekesync.protocol import packets, procedure_calls, token_stream
from vapteke_local.vaptekesync.protocol.packets import Connection, Message, Reply
from vapteke_local.vaptekesync.protocol.token_stream import DONE, DONE_PROC, SqlError
from vapteke_local.vaptekesync.session.answer import Answer
from vapteke_local.vaptekesync.session.exchange import Exchange
from vapteke_local.vaptekesync.session.interruptions import Cancelled, Dropped, Silenced
from vapteke_local.vaptekesync.session.login_exchange import log_in
from vapteke_local.vaptekesync.session.prepared_statements import Handles
from vapteke_local.vaptekesync.session.procedures import Procedures
from vapteke_local.vaptekesync.session.state import ServerState
from vapteke_local.vaptekesync.types.field_reader import Malformed

log = logging.getLogger(__name__)

BEGIN_TRANSACTION, COMMIT_TRANSACTION, ROLLBACK_TRANSACTION = 5, 7, 8
TRANSACTION = (1).to_bytes(8, "little")


async def serve(connection: Connection, state: ServerState) -> None:
    """Serves one client: the login, then every request. Closes the connection when the session ends.

    If the client closes the connection, the server cancels the task that runs this function.
    """
    exchange = Exchange(connection, state)
    session = Session(connection, state)
    try:
        await log_in(exchange)
        while True:
            await session.answer(await exchange.next_message())
    except Silenced:
        await asyncio.Event().wait()
    except Malformed as error:
        log.warning("connection closed: %s", error)
    except Dropped:
        pass
    finally:
        connection.transport.close()


class Session:
    """Answers what a client sends after its login."""

    def __init__(self, connection: Connection, state: ServerState) -> None:
        self._connection = connection
        self._state = state
        self._handles = Handles()

    async def answer(self, message: Message) -> None:
        if message.kind == packets.ATTENTION:
            # An answer that the attention has interrupted has acknowledged it already.
            if self._connection.attention.is_set():
                self._acknowledge_attention(Reply(self._connection))
            return
        answer = Answer(self._connection, self._state)
        if message.resets:
            self._handles.clear()
            answer.write(token_stream.environment(token_stream.RESET, b"\0", b"\0"))
        try:
            await self._answer_request(message, answer)
            answer.reply.finish()
        except Cancelled:
            # Without this error Microsoft's driver takes a statement cancelled before its first row for a success.
            answer.write(token_stream.done(DONE, token_stream.ERROR | token_stream.MORE))
            self._acknowledge_attention(answer.reply)

    def _acknowledge_attention(self, reply: Reply) -> None:
        self._connection.attention.clear()
        self._state.stats.attentions += 1
        reply.write(token_stream.done(DONE, token_stream.ATTENTION))
        reply.finish()

    async def _answer_request(self, message: Message, answer: Answer) -> None:
        if message.ignored:
            answer.write(token_stream.done(DONE, token_stream.ERROR))
        elif message.kind == packets.BATCH:
            await _batch(procedure_calls.without_headers(message.payload).decode("utf-16-le"), answer)
        elif message.kind == packets.RPC:
            await self._calls(message.payload, answer)
        elif message.kind == packets.TRANSACTION:
            _transaction(procedure_calls.without_headers(message.payload), answer)
        else:
            raise Malformed(f"a message of type {message.kind} after the login")

    async def _calls(self, payload: bytes, answer: Answer) -> None:
        try:
            calls = procedure_calls.read_calls(payload)
        except Malformed as error:
            answer.fail(SqlError(8016, f"The stand-in cannot read this call: {error}."), DONE_PROC)
            return
        procedures = Procedures(answer, self._handles)
        for number, call in enumerate(calls, 1):
            await procedures.call(call, token_stream.MORE if number < len(calls) else 0)


async def _batch(sql: str, answer: Answer) -> None:
    try:
        rows = await answer.execute(sql, {})
    except SqlError as error:
        answer.fail(error, DONE)
    else:
        answer.write(token_stream.done(DONE, rows=rows))


def _transaction(request: bytes, answer: Answer) -> None:
    kind = int.from_bytes(request[:2], "little")
    descriptor, none = token_stream.counted(TRANSACTION), b"\0"
    if kind == BEGIN_TRANSACTION:
        answer.write(token_stream.environment(token_stream.BEGIN, descriptor, none))
    elif kind in (COMMIT_TRANSACTION, ROLLBACK_TRANSACTION):
        ended = token_stream.COMMIT if kind == COMMIT_TRANSACTION else token_stream.ROLLBACK
        answer.write(token_stream.environment(ended, none, descriptor))
    answer.write(token_stream.done(DONE))
