"""What counts as an outage of Postgres, and what is a bug that looks like one."""

import errno
import socket
import ssl

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from vapteke_shared.http import problems
from vapteke_shared.postgres import outages
from vapteke_shared.postgres.sessions import ReadOnly
from vapteke_shared.process.connection_errors import Misconfigured, Unavailable
from vapteke_shared.process.health import Health

OUTAGES = [
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.ConnectionFailureError("server closed the connection"),
    asyncpg.ProtocolViolationError("query_wait_timeout"),  # pgbouncer
    asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
    asyncpg.IdleInTransactionSessionTimeoutError("terminating connection"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    asyncpg.DiskFullError("could not extend file"),
    asyncpg.OutOfMemoryError("out of memory"),
    asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.CrashShutdownError("the database system is in recovery mode"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.QueryCanceledError("canceling statement due to user request"),
    asyncpg.InvalidPasswordError("password authentication failed"),
    asyncpg.InvalidCatalogNameError("database does not exist"),
    asyncpg.PostgresIOError("could not read block"),
    asyncpg.InterfaceError("cannot perform operation: connection is closed"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.InterfaceError("cannot call Connection.execute(): connection has been released back to the pool"),
    asyncpg.InterfaceError("pool is closing"),
    asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    asyncpg.TargetServerAttributeNotMatched("None of the hosts match"),
    ConnectionResetError(),
    ConnectionRefusedError(),
    BrokenPipeError(),
    TimeoutError(),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    ssl.SSLError("decryption failed or bad record mac"),
    Unavailable("Postgres at db:5432 does not answer"),
    Misconfigured("Postgres at db:5432 rejects the login"),
    ReadOnly("Postgres at db:5432 accepts no writes"),
]
BUGS = [
    asyncpg.PostgresSyntaxError("syntax error"),
    asyncpg.UndefinedTableError("no such table"),
    asyncpg.UndefinedColumnError("no such column"),
    asyncpg.InsufficientPrivilegeError("permission denied"),
    asyncpg.NotNullViolationError("null value"),
    asyncpg.exceptions.DataError("invalid input for query argument $1"),
    asyncpg.InterfaceError("the server expects 2 arguments for this query, 1 was passed"),
    asyncpg.InterfaceError("cannot commit; the transaction is not yet started"),
    asyncpg.ClientConfigurationError("`sslmode` parameter must be one of"),
    asyncpg.OutdatedSchemaCacheError("unexpected number of attributes"),
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EMFILE, "Too many open files"),
    KeyError("name"),
    ValueError("x"),
    AssertionError(),
]


def name_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:60]


@pytest.mark.parametrize("error", OUTAGES, ids=name_of)
def test_an_error_that_may_pass_is_an_outage(error: Exception) -> None:
    assert outages.is_outage(error)
    assert outages.raise_unless_outage(error) is error


@pytest.mark.parametrize("error", BUGS, ids=name_of)
def test_a_bug_is_not_an_outage(error: Exception) -> None:
    assert not outages.is_outage(error)
    with pytest.raises(type(error)):
        outages.raise_unless_outage(error)


async def answered(error: Exception, health: Health | None = None) -> httpx.Response:
    """What a service answers when an endpoint raises it."""
    app = FastAPI()
    app.state.health = health or Health()
    problems.install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/")


@pytest.mark.parametrize("error", OUTAGES, ids=name_of)
async def test_an_outage_is_503_with_retry_after(error: Exception) -> None:
    answer = await answered(error)

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("error", BUGS, ids=name_of)
async def test_a_bug_is_500(error: Exception) -> None:
    answer = await answered(error)

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


@pytest.mark.parametrize(("fault", "status"), [("the schema is older than the service", 503), (None, 500)])
async def test_a_missing_table_is_an_outage_while_the_schema_is_old(fault: str | None, status: int) -> None:
    health = Health()
    if fault:
        health.report_fault("postgres", fault)

    answer = await answered(asyncpg.UndefinedTableError("no such table"), health)

    assert answer.status_code == status
