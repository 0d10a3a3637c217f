"""Opens sessions with the Postgres host that accepts writes, and checks that each has a server process of its own."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from vapteke_shared.postgres import server_errors
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.process import addresses, connection_errors
from vapteke_shared.process.connection_errors import Misconfigured, Unavailable
from vapteke_shared.process.settings import PostgresSettings

_CONNECT_SECONDS = 4
_HEAD_START_SECONDS = 0.5
_PROBE_SECONDS = 2


class ReadOnly(Unavailable):
    """The server is a standby, or a primary that accepts no writes now."""


class Session(asyncpg.Connection):  # type: ignore[misc]
    """A connection with its server's start time and the process id of its backend, both read when it was opened."""

    server_started_at: datetime
    """When the server started: the same for all sessions with one server, another after a restart or a failover."""
    server_process: int
    """The process id of the backend. If another process works for this session later, a pooler shares processes."""


async def connect(
    settings: PostgresSettings, user: tuple[str, str] | None = None, setup: str = "", **options: Any
) -> Session:
    """Open a session with the first host that accepts writes. The caller must close it.

    Each host gets half a second before the next host is tried as well, and each attempt ends after `_CONNECT_SECONDS`.

    `user` is a name and password, by default those of the service's role. `setup` are SQL statements that run once the
    session is open; a pooler would reject most settings at the start of a connection. `options` are arguments of
    asyncpg.

    When all hosts fail, raises an Unavailable with a text for operators; it is a ReadOnly or a Misconfigured if every
    host has failed for this reason. If there is only one host, and `server_errors.explain` does not know the cause, the
    original error is raised.
    """
    waiting, trying, faults = list(settings.postgres_servers), set[asyncio.Task[Session]](), list[BaseException]()
    try:
        while waiting or trying:
            if waiting:
                address = waiting.pop(0)
                trying.add(
                    asyncio.create_task(_connect_to(settings, address, user, setup, options), name=f"connect {address}")
                )
            head_start = _HEAD_START_SECONDS if waiting else None
            done, trying = await asyncio.wait(trying, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
            for each in sorted(done, key=lambda task: task.exception() is None):
                if (fault := each.exception()) is None:
                    done.remove(each)
                    trying |= done
                    return each.result()
                faults.append(fault)
    finally:
        for each in trying:
            each.add_done_callback(_close_if_connected)
            each.cancel()
    raise _combined(faults)


def _close_if_connected(attempt: asyncio.Task[Session]) -> None:
    """Close a session that opened too late: another host was faster, or the caller no longer waits."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _combined(faults: list[BaseException]) -> BaseException:
    """The fault if there is only one; otherwise an Unavailable that names each different fault once.

    If all faults are Misconfigured, it is a Misconfigured; if all are ReadOnly, it is a ReadOnly. If they differ, it is
    a plain Unavailable, because one of the hosts may recover.
    """
    if len(faults) == 1:
        return faults[0]
    classes = (Misconfigured, ReadOnly)
    kind = next((each for each in classes if all(isinstance(fault, each) for fault in faults)), Unavailable)
    return kind("; ".join(dict.fromkeys(connection_errors.describe(fault, "Postgres") for fault in faults)))


async def _connect_to(
    settings: PostgresSettings,
    address: tuple[str, int],
    user: tuple[str, str] | None,
    setup: str,
    options: Mapping[str, Any],
) -> Session:
    name, password = user or (settings.postgres_user, settings.postgres_password.get_secret_value())
    access: dict[str, Any] = {
        "host": address[0],
        "port": address[1],
        "database": settings.postgres_db,
        "user": name,
        "password": password,
        "ssl": server_errors.tls(settings),
        "connection_class": Session,
        **options,
    }
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            session: Session = await asyncpg.connect(**access, timeout=_CONNECT_SECONDS)
            try:
                await _check_new(session, address, access)
                if setup:
                    await session.execute(setup)
            except BaseException:
                session.terminate()
                raise
    except Exception as error:
        raise server_errors.explain(settings, address, raise_unless_outage(error)) from None
    return session


async def _check_new(session: Session, address: tuple[str, int], access: Mapping[str, Any]) -> None:
    where = f"Postgres at {addresses.written(*address)}"
    try:
        row = await session.fetchrow(_WHO)
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        raise _shared(where) from None
    if row["is_read_only"]:
        raise ReadOnly(f"{where} accepts no writes: it is a standby, or default_transaction_read_only is on")
    session.server_started_at, session.server_process = row["started_at"], row["process"]
    if session.get_server_pid() != row["process"] and await _shares_processes(session, access):
        raise _shared(where)


_WHO = """
SELECT
    pg_postmaster_start_time() AS started_at, pg_backend_pid() AS process,
    current_setting('transaction_read_only') = 'on' AS is_read_only
"""


def _shared(where: str) -> Misconfigured:
    mode = "pgbouncer in transaction or statement mode, which keeps no session"
    return Misconfigured(
        f"{where} is a {mode}: set pool_mode = session for this database and user, or use Postgres directly"
    )


async def _shares_processes(session: Session, access: Mapping[str, Any]) -> bool:
    """Whether a pooler shares server processes between sessions (pgbouncer in transaction or statement mode).

    Opens a second session to find out, and raises the error if that fails. False if the sessions do not get a process
    each within `_PROBE_SECONDS`: then the pooler is taken to keep its only process for the first session.
    """
    other: Session = await asyncpg.connect(**access, timeout=_PROBE_SECONDS)
    try:
        async with asyncio.timeout(_PROBE_SECONDS), other.transaction():
            others = await other.fetchval("SELECT pg_backend_pid()")
            ours = await session.fetchval("SELECT pg_backend_pid()")
    except TimeoutError:  # the pooler keeps its only process for the first session
        return False
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        return True
    except asyncpg.PostgresConnectionError as error:  # pgbouncer has closed the connection
        if "statement pooling mode" in str(error):
            return True
        raise
    finally:
        other.terminate()
    return bool(others == session.server_process or ours != session.server_process)


async def check(session: Session, seconds: float) -> None:
    """Check within `seconds` that the session accepts writes and still has its own server process.

    Raises ReadOnly if it accepts no writes, Misconfigured if a pooler shares the process, TimeoutError if the time is
    over, or an error of asyncpg.
    """
    row = await session.fetchrow(_WHO, timeout=seconds)
    if row["is_read_only"]:
        raise ReadOnly("Postgres accepts no writes: it is a standby, or default_transaction_read_only is on")
    if row["process"] != session.server_process:
        raise _shared("Postgres")
