"""One client's session: login, then an answer to each request."""

from __future__ import annotations

import asyncio
import logging
import ssl

from vapteke_local.vaptekesync import encryption, login, packets, prepared, rpc, statements, tokens
from vapteke_local.vaptekesync.backend import Backend
from vapteke_local.vaptekesync.encryption import Channel
from vapteke_local.vaptekesync.faults import Fault
from vapteke_local.vaptekesync.packets import Connection, Message, Reply
from vapteke_local.vaptekesync.prepared import Handles, Prepared
from vapteke_local.vaptekesync.reading import Malformed
from vapteke_local.vaptekesync.rpc import Call
from vapteke_local.vaptekesync.statements import Parameters, Result, Statement
from vapteke_local.vaptekesync.tokens import DONE, DONE_IN_PROC, DONE_PROC, SqlError

log = logging.getLogger(__name__)

ROWS_PER_WRITE = 2_000
FATAL_SEVERITY = 20
# SQL Server says it of 102 too. Some drivers show one error only, and what is not listed is to be seen.
FOLLOWED_BY_NOT_PREPARED = {131, 137, 207, 208}
COMPILE_ERRORS = FOLLOWED_BY_NOT_PREPARED | {102}
NOT_PREPARED = SqlError(8180, "Statement(s) could not be prepared.")
# Drivers ask for the list of types at connect, and do with an empty one.
EMPTY_PROCEDURES = {"sp_datatype_info", "sp_datatype_info_90", "sp_datatype_info_100"}
BEGIN_TRANSACTION, COMMIT_TRANSACTION, ROLLBACK_TRANSACTION = 5, 7, 8
TRANSACTION = (1).to_bytes(8, "little")


class Cancelled(Exception):
    """The client sent an attention."""


class Silenced(Exception):
    """Nothing more is answered on this connection."""


class Dropped(Exception):
    """The connection is gone, or is to go."""


async def serve(connection: Connection, backend: Backend) -> None:
    """Until the client goes or is dropped; cancelled when its socket closes."""
    session = Session(connection, backend)
    try:
        await session.log_in()
        while True:
            await session.answer(await session.next_message())
    except Silenced:
        await asyncio.Event().wait()
    except Malformed as error:
        log.warning("connection closed: %s", error)
    except Dropped:
        pass
    finally:
        connection.transport.close()


class Session:
    def __init__(self, connection: Connection, backend: Backend) -> None:
        self._connection = connection
        self._backend = backend
        self._prepared = Handles()
        self._reply = Reply(connection)
        self._is_encrypted = False

    async def next_message(self) -> Message:
        message = await self._connection.messages.get()
        if self._backend.faults.take("message"):
            raise Silenced
        return message

    async def log_in(self) -> None:
        prelogin = await self._expect(packets.PRELOGIN)
        await self._agree_on_encryption(login.asked_encryption(prelogin))
        asked = login.read(await self._expect(packets.LOGIN))
        self._backend.stats.logins_received += 1
        if not self._is_encrypted:
            self._connection.tls = None
        refusals = login.check(asked, self._backend.account, self._backend.database.is_open)
        for fault in self._backend.faults.take("login"):
            await asyncio.sleep(fault.seconds)
            if fault.kind == "fail":
                refusals = [SqlError(fault.number, fault.text, fault.severity, fault.state)]
        if refusals:
            await self._refuse_login(refusals)
        self._send(login.welcome(asked, self._backend.account, self._backend.database.rows.table.collation))
        self._connection.packet_size = asked.packet_size

    async def _agree_on_encryption(self, asked: int) -> None:
        offered = self._backend.encryption
        agreed = offered.answer(asked) if offered else encryption.NOT_SUPPORTED
        self._is_encrypted = agreed in (encryption.ON, encryption.REQUIRED)
        self._send(login.prelogin_answer(agreed))
        if offered:
            await self._shake_hands(Channel(offered.context))
        elif asked in (encryption.ON, encryption.REQUIRED):
            log.warning("a client demands encryption, which this stand-in has not: VAPTEKESYNC_ENCRYPT=no is needed")

    async def _shake_hands(self, channel: Channel) -> None:
        is_done = False
        while not is_done:
            received = await self._expect(packets.PRELOGIN)
            try:
                said, is_done = channel.shake_hands(received)
            except ssl.SSLError as error:
                log.info("no TLS with a client: %s", error.reason)
                self._send(channel.pending(), packets.PRELOGIN)
                raise Dropped from None
            self._send(said, packets.PRELOGIN)
        self._connection.tls = channel
        self._backend.stats.tls_handshakes += 1

    async def _expect(self, kind: int) -> bytes:
        message = await self.next_message()
        if message.kind != kind:
            raise Malformed(f"a message of type {message.kind} where {kind} is due")
        return message.payload

    async def _refuse_login(self, refusals: list[SqlError]) -> None:
        self._backend.stats.logins_refused += 1
        said = b"".join(tokens.error(refusal, login.SERVER_NAME) for refusal in refusals)
        self._send(said + tokens.done(DONE, tokens.ERROR))
        raise Dropped

    def _send(self, data: bytes, kind: int = packets.ANSWER) -> None:
        reply = Reply(self._connection, kind)
        reply.write(data)
        reply.finish()

    async def answer(self, message: Message) -> None:
        if message.kind == packets.ATTENTION:
            # Unless an answer was already ended by it.
            if self._connection.attention.is_set():
                self._acknowledge_attention(Reply(self._connection))
            return
        self._reply = Reply(self._connection)
        if message.resets:
            self._prepared.clear()
            self._reply.write(tokens.environment(tokens.RESET, b"\0", b"\0"))
        try:
            await self._answer_request(message)
            self._reply.finish()
        except Cancelled:
            # Without this error Microsoft's driver takes a statement cancelled before its first row for a success.
            self._reply.write(tokens.done(DONE, tokens.ERROR | tokens.MORE))
            self._acknowledge_attention(self._reply)

    def _acknowledge_attention(self, reply: Reply) -> None:
        self._connection.attention.clear()
        self._backend.stats.attentions += 1
        reply.write(tokens.done(DONE, tokens.ATTENTION))
        reply.finish()

    async def _answer_request(self, message: Message) -> None:
        if message.taken_back:
            self._reply.write(tokens.done(DONE, tokens.ERROR))
        elif message.kind == packets.BATCH:
            await self._batch(rpc.without_headers(message.payload).decode("utf-16-le"))
        elif message.kind == packets.RPC:
            await self._calls(message.payload)
        elif message.kind == packets.TRANSACTION:
            self._transaction(rpc.without_headers(message.payload))
        else:
            raise Malformed(f"a message of type {message.kind} after the login")

    async def _batch(self, sql: str) -> None:
        try:
            result = await self._execute(statements.compile_sql(sql), {})
        except SqlError as error:
            await self._fail(error, DONE)
        else:
            self._reply.write(tokens.done(DONE, rows=_count(result)))

    async def _fail(self, error: SqlError, ending: bytes, status: int = 0) -> None:
        self._reply.write(tokens.error(error, login.SERVER_NAME))
        if ending == DONE_PROC:
            self._reply.write(tokens.return_status(error.number))
        self._reply.write(tokens.done(ending, status | tokens.ERROR))
        if error.severity >= FATAL_SEVERITY:
            self._reply.finish()
            raise Dropped

    def _transaction(self, request: bytes) -> None:
        kind = int.from_bytes(request[:2], "little")
        descriptor, none = tokens.counted(TRANSACTION), b"\0"
        if kind == BEGIN_TRANSACTION:
            self._reply.write(tokens.environment(tokens.BEGIN, descriptor, none))
        elif kind in (COMMIT_TRANSACTION, ROLLBACK_TRANSACTION):
            ended = tokens.COMMIT if kind == COMMIT_TRANSACTION else tokens.ROLLBACK
            self._reply.write(tokens.environment(ended, none, descriptor))
        self._reply.write(tokens.done(DONE))

    async def _calls(self, payload: bytes) -> None:
        try:
            calls = rpc.read_calls(payload)
        except Malformed as error:
            await self._fail(SqlError(8016, f"The stand-in cannot read this call: {error}."), DONE_PROC)
            return
        for place, call in enumerate(calls, 1):
            await self._call(call, tokens.MORE if place < len(calls) else 0)

    async def _call(self, call: Call, status: int) -> None:
        try:
            await self._run_procedure(call)
        except SqlError as error:
            await self._fail(error, DONE_PROC, status)
        else:
            self._reply.write(tokens.done(DONE_PROC, status))

    async def _run_procedure(self, call: Call) -> None:
        name = call.procedure.casefold().rpartition(".")[2]
        procedures = {
            "sp_executesql": self._run_sql,
            "sp_prepexec": self._prepare_and_run,
            "sp_prepare": self._only_prepare,
            "sp_execute": self._run_by_handle,
            "sp_unprepare": self._forget,
        }
        if name in procedures:
            await procedures[name](call)
        elif name in EMPTY_PROCEDURES:
            self._reply.write(tokens.return_status(0))
        else:
            raise SqlError(2812, f"Could not find stored procedure '{call.procedure}'.", state=62)

    async def _run_sql(self, call: Call) -> None:
        sql, *declaration = call.values[:2]
        await self._run_prepared(prepared.prepare(sql, *declaration), call.parameters[2:])
        self._reply.write(tokens.return_status(0))

    async def _only_prepare(self, call: Call) -> None:
        handle = self._prepare(call)
        self._reply.write(tokens.return_status(0) + tokens.returned_handle(0, handle))

    async def _run_by_handle(self, call: Call) -> None:
        await self._run_prepared(self._prepared.get(call.values[0]), call.parameters[1:])
        self._reply.write(tokens.return_status(0))

    async def _forget(self, call: Call) -> None:
        self._prepared.get(call.values[0])
        self._prepared.forget(call.values[0])
        self._reply.write(tokens.return_status(0))

    async def _prepare_and_run(self, call: Call) -> None:
        handle = self._prepare(call)
        try:
            await self._run_prepared(self._prepared.get(handle), call.parameters[3:])
        except SqlError as error:
            if error.number not in COMPILE_ERRORS:
                self._reply.write(tokens.returned_handle(0, handle))
                raise
            self._prepared.forget(handle)
            if error.number not in FOLLOWED_BY_NOT_PREPARED:
                raise
            self._reply.write(tokens.error(error, login.SERVER_NAME))
            raise NOT_PREPARED from error
        self._reply.write(tokens.return_status(0) + tokens.returned_handle(0, handle))

    def _prepare(self, call: Call) -> int:
        replaced, declaration, sql, *_ = call.values
        self._prepared.forget(replaced)
        statements.compile_sql(sql)
        return self._prepared.add(sql, declaration)

    async def _run_prepared(self, statement: Prepared, given: list[rpc.Parameter]) -> None:
        parameters = statement.bind(given)
        result = await self._execute(statements.compile_sql(statement.sql), parameters)
        self._reply.write(tokens.done(DONE_IN_PROC, tokens.MORE, _count(result)))

    async def _execute(self, statement: Statement, parameters: Parameters) -> Result:
        """Writes the statement's metadata and rows; faults strike here, attention too."""
        if statement.name == "done":
            return statement.run(parameters, self._backend.database)
        self._backend.stats.statements[statement.name] += 1
        faults = self._backend.faults.take("statement", statement.name)
        for fault in faults:
            await self._wait(fault.seconds)
        interruption = next((fault for fault in faults if fault.kind != "delay"), None)
        if interruption is not None and interruption.rows is None:
            await self._interrupt(interruption)
        result = statement.run(parameters, self._backend.database)
        await self._stream(result, interruption)
        return result

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._connection.attention.wait(), seconds)
        except TimeoutError:
            return
        raise Cancelled

    async def _stream(self, result: Result, interruption: Fault | None) -> None:
        self._reply.write(result.metadata)
        rows = result.rows if interruption is None else result.rows[: interruption.rows]
        for start in range(0, len(rows), ROWS_PER_WRITE):
            if self._connection.attention.is_set():
                raise Cancelled
            block = rows[start : start + ROWS_PER_WRITE]
            self._reply.write(b"".join(result.show(block)))
            self._backend.stats.rows_sent += len(block)
            await self._connection.drained()
        if interruption is not None:
            await self._interrupt(interruption)
        if result.failure is not None:
            raise result.failure

    async def _interrupt(self, fault: Fault) -> None:
        if fault.kind == "fail":
            raise SqlError(fault.number, fault.text, fault.severity, fault.state)
        self._reply.send_pending()
        if fault.kind == "silent":
            raise Silenced
        await self._connection.flushed()
        self._connection.transport.abort()
        raise Dropped


def _count(result: Result) -> int | None:
    return len(result.rows) if result.metadata else None
