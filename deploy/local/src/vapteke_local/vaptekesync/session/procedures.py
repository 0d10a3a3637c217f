"""The stored procedures by which drivers send statements with parameters: sp_executesql, sp_prepexec and so on."""

from __future__ import annotations

from vapteke_local.vaptekesync.protocol import token_stream
from vapteke_local.vaptekesync.protocol.login import SERVER_NAME
from vapteke_local.vaptekesync.protocol.procedure_calls import Call, Parameter
from vapteke_local.vaptekesync.protocol.token_stream import DONE_IN_PROC, DONE_PROC, SqlError
from vapteke_local.vaptekesync.session import prepared_statements
from vapteke_local.vaptekesync.session.answer import Answer
from vapteke_local.vaptekesync.session.prepared_statements import Handles, Prepared
from vapteke_local.vaptekesync.sql import statements

# SQL Server sends 8180 after 102 too. Some drivers show only one error, and the statement that is not listed must show.
FOLLOWED_BY_NOT_PREPARED = {131, 137, 207, 208}
COMPILE_ERRORS = FOLLOWED_BY_NOT_PREPARED | {102}
NOT_PREPARED = SqlError(8180, "Statement(s) could not be prepared.")
# Drivers ask for the list of types when they connect. An empty list is enough for them.
EMPTY_PROCEDURES = {"sp_datatype_info", "sp_datatype_info_90", "sp_datatype_info_100"}


class Procedures:
    """Runs the procedure calls of one message and writes their answers."""

    def __init__(self, answer: Answer, handles: Handles) -> None:
        self._answer = answer
        self._handles = handles

    async def call(self, call: Call, status: int) -> None:
        """Runs a call and writes its answer, which is an error if the call fails. `status` goes into the last token.

        Cancelled, Silenced and Dropped pass through. The caller finishes the message.
        """
        try:
            await self._run(call)
        except SqlError as error:
            self._answer.fail(error, DONE_PROC, status)
        else:
            self._answer.write(token_stream.done(DONE_PROC, status))

    async def _run(self, call: Call) -> None:
        name = call.procedure.casefold().rpartition(".")[2]
        procedures = {
            "sp_executesql": self._run_sql,
            "sp_prepexec": self._prepare_and_run,
            "sp_prepare": self._only_prepare,
            "sp_execute": self._run_by_handle,
            "sp_unprepare": self._unprepare,
        }
        if name in procedures:
            await procedures[name](call)
        elif name in EMPTY_PROCEDURES:
            self._answer.write(token_stream.return_status(0))
        else:
            raise SqlError(2812, f"Could not find stored procedure '{call.procedure}'.", state=62)

    async def _run_sql(self, call: Call) -> None:
        sql, *declaration = call.values[:2]
        await self._run_prepared(prepared_statements.prepare(sql, *declaration), call.parameters[2:])
        self._answer.write(token_stream.return_status(0))

    async def _only_prepare(self, call: Call) -> None:
        handle = self._prepare(call)
        self._answer.write(token_stream.return_status(0) + token_stream.returned_handle(0, handle))

    async def _run_by_handle(self, call: Call) -> None:
        await self._run_prepared(self._handles.get(call.values[0]), call.parameters[1:])
        self._answer.write(token_stream.return_status(0))

    async def _unprepare(self, call: Call) -> None:
        self._handles.get(call.values[0])
        self._handles.remove(call.values[0])
        self._answer.write(token_stream.return_status(0))

    async def _prepare_and_run(self, call: Call) -> None:
        handle = self._prepare(call)
        try:
            await self._run_prepared(self._handles.get(handle), call.parameters[3:])
        except SqlError as error:
            if error.number not in COMPILE_ERRORS:
                self._answer.write(token_stream.returned_handle(0, handle))
                raise
            self._handles.remove(handle)
            if error.number not in FOLLOWED_BY_NOT_PREPARED:
                raise
            self._answer.write(token_stream.error(error, SERVER_NAME))
            raise NOT_PREPARED from error
        self._answer.write(token_stream.return_status(0) + token_stream.returned_handle(0, handle))

    def _prepare(self, call: Call) -> int:
        replaced, declaration, sql, *_ = call.values
        self._handles.remove(replaced)
        statements.compile_sql(sql)
        return self._handles.add(sql, declaration)

    async def _run_prepared(self, statement: Prepared, given: list[Parameter]) -> None:
        rows = await self._answer.execute(statement.sql, statement.bind(given))
        self._answer.write(token_stream.done(DONE_IN_PROC, token_stream.MORE, rows))
