"""An ODBC connection to vAptekeSync with a deadline.

The deadline of `MSSQL_TIMEOUT` holds for the connect and for each wait for an answer, even from a server that has gone
silent: then the connection is thrown away.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import aioodbc
import pyodbc
from prometheus_client import Gauge
from vapteke_shared.process import logs

from legacy_importer import connection_string, port_check, socket_shutdown
from legacy_importer.legacy_errors import LegacyError, no_answer, understood
from legacy_importer.settings import LegacySettings

_PAGE_ROWS = 5_000

T = TypeVar("T")
log = logs.get(__name__)
given_up = Gauge("legacy_importer_given_up_connections", "Connections thrown away whose driver has not yet let go")


class Connection:
    """One ODBC connection with a thread of its own; `session.connected` opens and closes it."""

    def __init__(self, settings: LegacySettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "odbc")
        self._odbc: aioodbc.Connection | None = None
        self._cursor: aioodbc.Cursor | None = None
        self._others = socket_shutdown.connected_to(settings.vaptekesync_port)
        self._is_given_up = False

    async def open(self) -> None:
        """Raises LegacyError."""
        await port_check.check(self._settings)
        await self._in_time(self._connect())
        assert self._odbc is not None, "it was connected in time"
        self._cursor = await self._in_time(self._odbc.cursor())

    async def _connect(self) -> None:
        self._odbc = await aioodbc.connect(
            dsn=connection_string.build(self._settings),
            autocommit=True,
            timeout=math.ceil(self._settings.mssql_timeout) + 1,  # ours comes first and says how long it was
            executor=self._thread,
        )

    async def fetch(self, sql: str, *parameters: Any) -> list[Any]:
        """All rows of a small answer."""
        return [row async for page in self.pages(sql, *parameters) for row in page]

    async def pages(self, sql: str, *parameters: Any) -> AsyncGenerator[Sequence[Any]]:
        """The answer in pages; the next one is fetched while the caller is busy with this one."""
        assert self._cursor is not None, "the connection is open"
        await self._in_time(self._cursor.execute(sql, *parameters))
        page = await self._in_time(self._cursor.fetchmany(_PAGE_ROWS))
        while page:
            following = asyncio.ensure_future(self._cursor.fetchmany(_PAGE_ROWS))
            try:
                yield page
            except BaseException:  # the caller has stopped: its reason is told, not how this ends
                with suppress(LegacyError, UnicodeDecodeError):
                    await self._in_time(following)
                raise
            page = await self._in_time(following)

    async def accept_half_characters(self) -> None:
        """Read texts that are not UTF-16, at half the speed."""
        assert self._odbc is not None, "the connection is open"
        await self._in_time(self._odbc.add_output_converter(pyodbc.SQL_WVARCHAR, _decoded))

    async def close(self) -> None:
        if self._is_given_up:
            return
        if self._odbc is not None:
            with suppress(LegacyError):  # it is left either way
                await self._in_time(self._odbc.close())
        self._thread.shutdown(wait=False)

    async def _in_time(self, operation: Awaitable[T]) -> T:
        """Await a driver's call, but not longer than the deadline. Raises LegacyError."""
        call = asyncio.ensure_future(operation)
        try:
            done, _ = await asyncio.wait({call}, timeout=self._settings.mssql_timeout)
        except asyncio.CancelledError:
            self._give_up(call)
            raise
        if not done:
            self._give_up(call)
            raise no_answer(self._settings)
        try:
            return call.result()
        except pyodbc.Error as error:
            raise understood(error, self._settings) from None

    def _give_up(self, call: asyncio.Future[Any]) -> None:
        """Leave a call that hangs; its connection is cut, and closed once the driver lets go."""
        self._is_given_up = True
        given_up.inc()
        socket_shutdown.cut(self._settings.vaptekesync_port, self._others)
        _leaving.add(leaving := asyncio.create_task(self._leave(call)))
        leaving.add_done_callback(_leaving.discard)

    async def _leave(self, call: asyncio.Future[Any]) -> None:
        try:
            await call
        except pyodbc.Error as error:
            log.info("a call given up has ended", error=type(error).__name__)
        finally:
            if self._odbc is not None:
                with suppress(pyodbc.Error):
                    await self._odbc.close()
            self._thread.shutdown(wait=False)
            given_up.dec()


_leaving: set[asyncio.Task[None]] = set()


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-16-le", "surrogatepass")
