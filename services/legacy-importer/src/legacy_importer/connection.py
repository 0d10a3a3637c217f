"""An ODBC connection to vAptekeSync with a deadline for each call of the driver.

Connecting takes at most `MSSQL_TIMEOUT` seconds, and so does each later call, even when the server goes silent. A call
that takes longer raises LegacyUnavailable, and its connection is abandoned: open another one.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import aioodbc
import pyodbc
from prometheus_client import Gauge
from vapteke_shared.process import logs

from legacy_importer import connection_string, legacy_errors, port_check, socket_shutdown
from legacy_importer.legacy_errors import LegacyError
from legacy_importer.settings import LegacySettings

# unixODBC would keep a closed connection for the rest of the second and give it to the next caller, even if vAptekeSync
# has ended it meanwhile.
pyodbc.pooling = False

_PAGE_ROWS = 5_000

T = TypeVar("T")
log = logs.get(__name__)
abandoned = Gauge("legacy_importer_given_up_connections", "Abandoned connections that the driver has not released yet")


class Connection:
    """One ODBC connection, whose calls run in a thread of its own. `login.connect` opens and closes connections.

    All queries share one cursor. So end or close the generator of `pages` before the next query.
    """

    def __init__(self, settings: LegacySettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "odbc")
        self._odbc: aioodbc.Connection | None = None
        self._cursor: aioodbc.Cursor | None = None
        self._others = socket_shutdown.addresses_connected_to(settings.vaptekesync_port)
        self._is_abandoned = False

    async def open(self) -> None:
        """Check the port, connect and log in, in `MSSQL_TIMEOUT` seconds altogether.

        Raises LegacyError. The caller must `close` the connection then too.
        """
        deadline = time.monotonic() + self._settings.mssql_timeout
        await port_check.check(self._settings)
        await self._in_time(self._connect(), deadline)
        assert self._odbc is not None, "it is connected"
        self._cursor = await self._in_time(self._odbc.cursor(), deadline)

    async def _connect(self) -> None:
        self._odbc = await aioodbc.connect(
            dsn=connection_string.build(self._settings),
            autocommit=True,
            timeout=math.ceil(self._settings.mssql_timeout) + 1,  # our own deadline ends first and names its seconds
            executor=self._thread,
        )

    async def fetch(self, sql: str, *parameters: Any) -> list[Any]:
        """Run a query and return all its rows at once, for small results. Raises the same errors as `pages`."""
        return [row async for page in self.pages(sql, *parameters) for row in page]

    async def execute(self, sql: str) -> None:
        """Run a statement that returns no rows. Raises LegacyError."""
        assert self._cursor is not None, "the connection is open"
        await self._in_time(self._cursor.execute(sql))

    async def pages(self, sql: str, *parameters: Any) -> AsyncGenerator[Sequence[Any]]:
        """Run a query and yield its rows in pages. The next page is fetched while the caller handles the current one.

        Raises LegacyError, or UnicodeDecodeError for a page with a text that is not valid UTF-16, also after other
        pages were yielded. Close the generator when you stop early.
        """
        assert self._cursor is not None, "the connection is open"
        await self._in_time(self._cursor.execute(sql, *parameters))
        page = await self._in_time(self._cursor.fetchmany(_PAGE_ROWS))
        while page:
            following = asyncio.ensure_future(self._cursor.fetchmany(_PAGE_ROWS))
            try:
                yield page
            except BaseException:  # the caller has stopped: its error matters, not the one of this fetch
                with suppress(LegacyError, UnicodeDecodeError):
                    await self._in_time(following)
                raise
            page = await self._in_time(following)

    async def accept_unpaired_surrogates(self) -> None:
        """Let later queries return texts that are not valid UTF-16 instead of raising UnicodeDecodeError.

        The caller must run the failed query again. Reading then takes twice as long. Raises LegacyError.
        """
        assert self._odbc is not None, "the connection is open"
        await self._in_time(self._odbc.add_output_converter(pyodbc.SQL_WVARCHAR, _decoded))

    async def close(self) -> None:
        if self._is_abandoned:
            return
        if self._odbc is not None:
            with suppress(LegacyError):  # it is dropped either way
                await self._in_time(self._odbc.close())
        self._thread.shutdown(wait=False)

    async def _in_time(self, operation: Awaitable[T], deadline: float | None = None) -> T:
        """Await a call of the driver, and return its result. Raises LegacyError; UnicodeDecodeError passes through.

        The call may take until `deadline`, by the monotonic clock; without one, `MSSQL_TIMEOUT` seconds. The connection
        is abandoned when the call takes longer or the caller is cancelled.
        """
        call = asyncio.ensure_future(operation)
        seconds = self._settings.mssql_timeout if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            done, _ = await asyncio.wait({call}, timeout=seconds)
        except asyncio.CancelledError:
            self._abandon(call)
            raise
        if not done:
            self._abandon(call)
            raise legacy_errors.no_answer(self._settings)
        try:
            return call.result()
        except pyodbc.Error as error:
            raise legacy_errors.from_driver(error, self._settings) from None

    def _abandon(self, call: asyncio.Future[Any]) -> None:
        """Stop waiting for a call that hangs, and close the connection in the background when the call returns.

        To make the call return, shut down all sockets to vAptekeSync's port that were connected after this object was
        created. That also breaks another Connection opened since then.
        """
        self._is_abandoned = True
        abandoned.inc()
        socket_shutdown.shut_down(self._settings.vaptekesync_port, self._others)
        _closing.add(closing := asyncio.create_task(self._close_after(call)))
        closing.add_done_callback(_closing.discard)

    async def _close_after(self, call: asyncio.Future[Any]) -> None:
        try:
            await call
        except pyodbc.Error as error:
            log.info("an abandoned call has ended", error=type(error).__name__)
        finally:
            if self._odbc is not None:
                with suppress(pyodbc.Error):
                    await self._odbc.close()
            self._thread.shutdown(wait=False)
            abandoned.dec()


_closing: set[asyncio.Task[None]] = set()


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-16-le", "surrogatepass")
