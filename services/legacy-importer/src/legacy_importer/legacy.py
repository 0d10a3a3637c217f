"""vAptekeSync: every statement that we send to the SQL Server, and how its answers and silences are taken.

Plain T-SQL of SQL Server 2012. Nothing is locked or written; the deadline of `MSSQL_TIMEOUT` holds for the connect and
for each wait for an answer, even from a server that has gone silent: then the connection is thrown away.
"""

import asyncio
import math
import platform
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aioodbc
import pyodbc
from prometheus_client import Gauge
from vapteke_shared import logs

from legacy_importer import sockets
from legacy_importer.settings import LegacySettings
from legacy_importer.translate import LegacyRow

_PAGE_ROWS = 5_000
_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_AS_TEXT = ("phone", "firstname", "lastname", "email", "gender")
_LOGIN_REFUSED, _NO_DATABASE = 18456, 4060
_UNFIT = {207: "a column is missing", 208: "the table is missing", 229: "reading it is not permitted"}

T = TypeVar("T")
log = logs.get(__name__)
given_up = Gauge("legacy_importer_given_up_connections", "Connections thrown away whose driver has not yet let go")


class LegacyError(Exception):
    """What went wrong with vAptekeSync, in words for operators."""


class LegacyUnavailable(LegacyError):
    """It does not answer, or not now: a further attempt may succeed."""


class LegacyUnfit(LegacyError):
    """Login, table or columns are not as the settings say: no attempt will succeed."""


class Plan(NamedTuple):
    """How many rows there are, and the upper bounds of the key ranges, ascending."""

    row_count: int
    upper_bounds: list[int]


class Connection:
    """One ODBC connection with a thread of its own; `connected` opens and closes it."""

    def __init__(self, settings: LegacySettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "odbc")
        self._odbc: aioodbc.Connection | None = None
        self._cursor: aioodbc.Cursor | None = None
        self._others = sockets.connected_to(settings.vaptekesync_port)
        self._is_given_up = False

    async def open(self) -> None:
        await self._in_time(self._connect())
        assert self._odbc is not None, "it was connected in time"
        self._cursor = await self._in_time(self._odbc.cursor())

    async def _connect(self) -> None:
        self._odbc = await aioodbc.connect(
            dsn=connection_string(self._settings),
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
            seconds = f"{self._settings.mssql_timeout:g} s"
            raise LegacyUnavailable(f"{_address(self._settings)} did not answer within {seconds}")
        try:
            return call.result()
        except pyodbc.Error as error:
            raise _understood(error, self._settings) from None

    def _give_up(self, call: asyncio.Future[Any]) -> None:
        """Leave a call that hangs; its connection is cut, and closed once the driver lets go."""
        self._is_given_up = True
        given_up.inc()
        sockets.cut(self._settings.vaptekesync_port, self._others)
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


@asynccontextmanager
async def connected(settings: LegacySettings) -> AsyncIterator[Connection]:
    """Raises LegacyUnavailable, or LegacyUnfit when the login is refused."""
    connection = Connection(settings)
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()


async def check(connection: Connection, settings: LegacySettings) -> None:
    """Compare the table with the mapping of the settings. Raises LegacyUnfit with a text that names what is wrong."""
    names = (settings.vaptekesync_schema, settings.vaptekesync_table)
    table = ".".join(names)
    found = {row[0].casefold(): (row[1], row[2]) for row in await connection.fetch(_COLUMNS, *names)}
    if not found:
        raise LegacyUnfit(f"table {table} does not exist, or the user may not read it")
    missing = [name for name in settings.vaptekesync_columns.model_dump().values() if name.casefold() not in found]
    if missing:
        raise LegacyUnfit(f"table {table} has no column {', '.join(missing)}")
    key = settings.vaptekesync_columns.id
    kind, nullable = found[key.casefold()]
    if kind.casefold() not in _INTEGERS:
        raise LegacyUnfit(f"key {key} of {table} is of type {kind}; one of {', '.join(_INTEGERS)} is needed")
    if nullable.casefold() == "yes":
        raise LegacyUnfit(f"key {key} of {table} may be null")
    if not _is_unique(key, await connection.fetch(_CONSTRAINTS, *names)):
        raise LegacyUnfit(f"key {key} of {table} is not unique: it has no primary key or unique constraint of its own")


async def plan(connection: Connection, settings: LegacySettings, rows_per_range: int) -> Plan:
    """Cut the table into ranges of so many rows, in one scan of the key's index."""
    key, table = _quoted(settings.vaptekesync_columns.id), _table(settings)
    rows = await connection.fetch(
        f"SELECT k, n FROM (SELECT {key} AS k, ROW_NUMBER() OVER (ORDER BY {key}) AS n, "
        f"LEAD({key}) OVER (ORDER BY {key}) AS following FROM {table}) AS numbered "
        f"WHERE n % {rows_per_range:d} = 0 OR following IS NULL ORDER BY k"
    )
    return Plan(rows[-1][1] if rows else 0, [row[0] for row in rows])


async def clock(connection: Connection) -> datetime:
    """The server's own time: what is read after it is at least as new."""
    [[now]] = await connection.fetch("SELECT SYSUTCDATETIME()")
    return now.replace(tzinfo=UTC)  # type: ignore[no-any-return]


async def read_range(
    connection: Connection, settings: LegacySettings, after_id: int | None, upto_id: int
) -> AsyncGenerator[Iterable[LegacyRow]]:
    """The rows with `after_id` < key <= `upto_id` in pages, in the order of the key. Raises LegacyError."""
    try:
        async with aclosing(_read(connection, settings, after_id, upto_id)) as pages:
            async for page in pages:
                after_id = page[-1][0]
                yield map(LegacyRow._make, page)
    except UnicodeDecodeError:  # half a surrogate pair: the driver drops a whole page for it
        await connection.accept_half_characters()
        async with aclosing(_read(connection, settings, after_id, upto_id)) as pages:
            async for page in pages:
                yield map(LegacyRow._make, page)


def _read(
    connection: Connection, settings: LegacySettings, after_id: int | None, upto_id: int
) -> AsyncGenerator[Sequence[Any]]:
    key, table = _quoted(settings.vaptekesync_columns.id), _table(settings)
    columns = ", ".join(_selected(settings))
    bounds = f"{key} <= ?" if after_id is None else f"{key} > ? AND {key} <= ?"
    parameters = (upto_id,) if after_id is None else (after_id, upto_id)
    return connection.pages(f"SELECT {columns} FROM {table} WHERE {bounds} ORDER BY {key}", *parameters)


_COLUMNS = (
    "SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS "
    "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)
_CONSTRAINTS = (
    "SELECT k.CONSTRAINT_NAME, k.COLUMN_NAME FROM INFORMATION_SCHEMA.TABLE_CONSTRAINTS AS c "
    "JOIN INFORMATION_SCHEMA.KEY_COLUMN_USAGE AS k "
    "ON k.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = c.CONSTRAINT_NAME "
    "WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? AND c.CONSTRAINT_TYPE IN ('PRIMARY KEY', 'UNIQUE')"
)


def _is_unique(key: str, constraints: Iterable[Any]) -> bool:
    columns: dict[str, list[str]] = {}
    for name, column in constraints:
        columns.setdefault(name, []).append(column.casefold())
    return [key.casefold()] in columns.values()


def _decoded(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-16-le", "surrogatepass")


def _selected(settings: LegacySettings) -> list[str]:
    """Texts are cast: a CP1251 varchar would arrive as question marks."""
    names = settings.vaptekesync_columns.model_dump()
    return [
        f"CAST({_quoted(column)} AS nvarchar(4000))" if field in _AS_TEXT else _quoted(column)
        for field, column in names.items()
    ]


def _table(settings: LegacySettings) -> str:
    return f"{_quoted(settings.vaptekesync_schema)}.{_quoted(settings.vaptekesync_table)}"


def _quoted(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


def _address(settings: LegacySettings) -> str:
    return f"vAptekeSync at {settings.vaptekesync_host}:{settings.vaptekesync_port}"


def _understood(error: pyodbc.Error, settings: LegacySettings) -> LegacyError:
    """The driver's error in words that say what to do; its own text may hold values and is left out."""
    state, text = (str(part) for part in (*error.args, "", "")[:2])
    numbers = {int(number) for number in re.findall(r"\((\d+)\)", text)}
    where = _address(settings)
    if _NO_DATABASE in numbers:
        return LegacyUnfit(f"{where} has no database {settings.vaptekesync_db} for this user (VAPTEKESYNC_DB)")
    if _LOGIN_REFUSED in numbers or state == "28000":
        return LegacyUnfit(
            f"{where} refused the login: check VAPTEKESYNC_USER, VAPTEKESYNC_PASSWORD and VAPTEKESYNC_DB"
        )
    if state in ("01000", "IM002", "IM003") and "[Driver Manager]" in text:
        return LegacyUnfit(f"the ODBC driver cannot be loaded (VAPTEKESYNC_DRIVER, {state})")
    for number in numbers & _UNFIT.keys():
        return LegacyUnfit(f"{where}: {_UNFIT[number]} (error {number})")
    return LegacyUnavailable(f"{where} cannot be reached or broke off (SQLSTATE {state}{_listed(numbers)})")


def _listed(numbers: set[int]) -> str:
    real = sorted(numbers - {0})
    return f", error {', '.join(map(str, real))}" if real else ""


def connection_string(settings: LegacySettings) -> str:
    is_freetds = "tds" in settings.vaptekesync_driver.casefold()
    options, braced = (_freetds(settings), _braced_for_freetds) if is_freetds else (_microsoft(settings), _braced)
    values = {
        "DRIVER": settings.vaptekesync_driver or str(_microsoft_driver()),
        "DATABASE": settings.vaptekesync_db,
        "UID": settings.vaptekesync_user,
        "PWD": settings.vaptekesync_password.get_secret_value(),
        "APP": "legacy-importer",
        "ApplicationIntent": "ReadOnly",
        **options,
    }
    return ";".join(f"{name}={braced(value)}" for name, value in values.items())


def _braced(value: str) -> str:
    return "{" + value.replace("}", "}}") + "}"


def _braced_for_freetds(value: str) -> str:
    """It knows no doubled brace. Raises LegacyUnfit."""
    if "};" in value:
        raise LegacyUnfit("FreeTDS cannot be given a user, password or database with `};` in it (VAPTEKESYNC_DRIVER)")
    return "{" + value + "}"


def _microsoft(settings: LegacySettings) -> dict[str, str]:
    return {
        "SERVER": f"{settings.vaptekesync_host},{settings.vaptekesync_port}",
        "Encrypt": settings.vaptekesync_encrypt,
        "TrustServerCertificate": "yes" if settings.vaptekesync_trust_server_certificate else "no",
        "ConnectRetryCount": "0",  # the attempts are ours to count
    }


def _freetds(settings: LegacySettings) -> dict[str, str]:
    return {
        "SERVER": settings.vaptekesync_host,
        "PORT": str(settings.vaptekesync_port),
        "TDS_Version": "7.4",
        "ClientCharset": "UTF-8",
        "Encryption": "off" if settings.vaptekesync_encrypt == "no" else "require",
    }


def _microsoft_driver() -> Path:
    """The driver in Microsoft's wheel for this platform. Raises LegacyUnfit where it has none."""
    spec = find_spec("mssql_python_odbc")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        for driver in sorted(Path(place, "libs").glob(_DRIVERS.get(platform.system(), "-"))):
            if platform.system() != "Linux" or driver.match(f"*/{_distribution()}/{platform.machine()}/lib/*"):
                return driver
    raise LegacyUnfit("Microsoft's ODBC driver has no build for this platform: set VAPTEKESYNC_DRIVER")


_DRIVERS = {"Linux": "linux/*/*/lib/libmsodbcsql-18*.so*", "Darwin": "macos/*/lib/libmsodbcsql*.dylib"}


def _distribution() -> str:
    """The wheel's folder for this distribution."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "debian_ubuntu"
    family = {release["ID"], *release.get("ID_LIKE", "").split()}
    if family & {"rhel", "fedora", "centos"}:
        return "rhel"
    if family & {"suse", "opensuse", "sles"}:
        return "suse"
    return "alpine" if "alpine" in family else "debian_ubuntu"
