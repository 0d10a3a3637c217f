"""The vAptekeSync stand-in in the test's own process, and the drivers that talk to it."""

import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import mssql_python_odbc  # type: ignore[import-untyped]
import pyodbc
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from vapteke_local import vaptekesync
from vapteke_local.vaptekesync import Server

Ask = Callable[..., list[tuple[Any, ...]]]
Serve = Callable[..., AbstractContextManager[Server]]
Connect = Callable[..., pyodbc.Connection]
FREETDS_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu/odbc",
    "/usr/lib/aarch64-linux-gnu/odbc",
    "/opt/homebrew/lib",
    "/usr/lib64",
)
PORTALS: dict[Server, BlockingPortal] = {}
"""Server → the loop that it runs on."""
# The driver manager would keep connections that a test believes closed.
pyodbc.pooling = False


def microsoft_driver() -> Path:
    libraries = Path(mssql_python_odbc.__file__).parent / "libs"
    linux = f"linux/debian_ubuntu/{platform.machine()}/lib/libmsodbcsql-18*"
    places = {"Linux": linux, "Darwin": "macos/*/lib/libmsodbcsql*"}
    for library in libraries.glob(places.get(platform.system(), "-")):
        return library
    pytest.skip("Microsoft's ODBC driver has no build for this platform")


def freetds_driver() -> Path:
    for folder in FREETDS_FOLDERS:
        for library in Path(folder).glob("libtdsodbc.so*"):
            return library
    pytest.skip("FreeTDS's ODBC driver is not here: install the Debian package tdsodbc")


@pytest.fixture(params=["microsoft", "freetds"])
def driver(request: pytest.FixtureRequest) -> str:
    """The part of a connection string that depends on the driver; {host} and {port} are filled in later."""
    if request.param == "microsoft":
        return f"Driver={microsoft_driver()};Server={{host}},{{port}};Encrypt=no"
    return f"Driver={freetds_driver()};Server={{host}};Port={{port}};TDS_Version=7.4;ClientCharset=UTF-8"


@pytest.fixture
def dsn(driver: str) -> Callable[..., str]:
    """`dsn(server, password="…", extra="Encrypt=yes")`: a whole connection string."""

    def make(server: Server, *, extra: str = "", **given: str) -> str:
        login = {"database": server.database, "user": server.user, "password": server.password} | given
        place = driver.format(host=server.host, port=server.port)
        return f"{place};Database={login['database']};UID={login['user']};PWD={login['password']};{extra}"

    return make


@pytest.fixture
def connect(dsn: Callable[..., str]) -> Iterator[Connect]:
    """`connect(server, timeout=…, **login)`: closed after the test."""
    opened = []

    def make(server: Server, *, timeout: int = 10, **given: str) -> pyodbc.Connection:
        connection = pyodbc.connect(dsn(server, **given), autocommit=True, timeout=timeout)
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def ask(dsn: Callable[..., str]) -> Ask:
    """`ask(server, sql, *parameters)`: all rows, over a connection of its own."""

    def answer(server: Server, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        connection = pyodbc.connect(dsn(server), autocommit=True, timeout=10)
        try:
            return [tuple(row) for row in connection.execute(sql, *parameters).fetchall()]
        finally:
            connection.close()

    return answer


def person(key: int) -> tuple[Any, ...]:
    """A made-up customer, in the order of the default table."""
    return (
        key,
        f"8 (902) 516-{key % 10_000:04d}",
        "Виктор" if key % 3 else None,
        f"Ёлкин-{key}",
        f"v{key}@example.com",
        date(1950, 1, 1) + timedelta(days=key % 20_000),
        "М" if key % 2 else "Ж",
        key % 100 or None,
        datetime(2023, 12, 21, 4, 20, 37, 30_000) + timedelta(minutes=key),
    )


@pytest.fixture(scope="session")
def people() -> list[tuple[Any, ...]]:
    """100,000 customers with ids 3, 6, 9, …"""
    return [person(number * 3) for number in range(1, 100_001)]


@contextmanager
def serve_in_thread(*arguments: Any, **options: Any) -> Iterator[Server]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(vaptekesync.serve(*arguments, **options)) as server,
    ):
        PORTALS[server] = portal
        yield server
        del PORTALS[server]


@pytest.fixture
def serve() -> Serve:
    """`with serve(rows, table, …) as server`, with the arguments of vaptekesync.serve.

    On a loop and thread of its own: FreeTDS waits for the server even where a cursor is destroyed.
    """
    return serve_in_thread


@pytest.fixture
def server(people: list[tuple[Any, ...]]) -> Iterator[Server]:
    """With the first thousand people."""
    with serve_in_thread(people[:1000], control_port=0) as running:
        yield running


@pytest.fixture
def large_server(people: list[tuple[Any, ...]]) -> Iterator[Server]:
    """With all people."""
    with serve_in_thread(people) as running:
        yield running


@pytest.fixture
def hang_up() -> Callable[[Server], None]:
    """`hang_up(server)`: closes the connections of all clients."""

    def cut(server: Server) -> None:
        PORTALS[server].call(server.hang_up)

    return cut


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """`eventually(condition)`: polls until it holds; fails after a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.01)

    return wait
