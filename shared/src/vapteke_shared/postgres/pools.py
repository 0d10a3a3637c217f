"""The connection pool of a process: opens sessions, replaces them after a failover, and closes at shutdown."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from weakref import WeakSet

import asyncpg

from vapteke_shared.postgres import sessions
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.postgres.sessions import Session
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.settings import PostgresSettings

_SESSION = {
    "jit": "off",  # compiling costs more time than these statements take
    "idle_in_transaction_session_timeout": "60000",  # ms; a frozen process must not keep its locks
}
_QUERY_SECONDS = 12  # leaves time to respond to current requests with an error when Postgres does not answer
_CLOSE_SECONDS = 3

log = logs.get(__name__)

Prepare = Callable[[asyncpg.Connection], Awaitable[None]]


class Pool(asyncpg.Pool):  # type: ignore[misc]
    """A pool of sessions with the Postgres host that accepts writes. Make it with `create_pool`.

    Each session has the service's schema as its search path and UTC as its time zone. `acquire` may have to open a
    session; then it raises the errors of `sessions.connect`.
    """

    def __init__(
        self,
        settings: PostgresSettings,
        schema: Schema,
        command_timeout: float,
        reset: Prepare | None,
        **options: Any,
    ) -> None:
        self._settings, self._command_timeout = settings, command_timeout
        self._names = {"application_name": schema.service, "timezone": "UTC"}
        self.session: Mapping[str, str] = {"search_path": schema.name, **_SESSION}
        """The settings of each session, by name.

        They are set after the session is open, because a pooler would reject them at the start of a connection.
        """
        self._sessions = WeakSet[Session]()
        super().__init__(
            **options,
            reset=reset or self._reset_session,
            min_size=0,
            max_queries=50_000,
            max_inactive_connection_lifetime=300,
            loop=None,
            connection_class=Session,
            record_class=asyncpg.Record,
            connect=self._open_session,
        )

    async def _open_session(self, **_: Any) -> Session:
        session = await self.open_extra_session()
        self._sessions.add(session)
        return session

    async def open_extra_session(self) -> Session:
        """Open a session outside the pool, for the caller to close. Raises the errors of `sessions.connect`."""
        return await sessions.connect(
            self._settings,
            setup=self._set_statements(),
            command_timeout=self._command_timeout,
            server_settings=self._names,
        )

    def _set_statements(self) -> str:
        return "".join(f"SET {name} = {value!r};" for name, value in self.session.items())

    async def _reset_session(self, session: Session) -> None:
        await session.execute(
            f"SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; {self._set_statements()}"
        )

    async def replace_sessions(self, server_started_at: datetime) -> None:
        """Replace all sessions, each before its next use.

        Sessions with a server that did not start at `server_started_at` are also cut at once: a query that runs on one
        of them fails with a lost connection.
        """
        for session in list(self._sessions):
            if session.server_started_at != server_started_at:
                session.terminate()
        await self.expire_connections()


def create_pool(
    settings: PostgresSettings,
    schema: Schema,
    size: int,
    init: Prepare | None = None,
    reset: Prepare | None = None,
    command_timeout: float = 60,
) -> Pool:
    """A pool of at most `size` sessions. The caller must open and close it, with `closing` or `async with`.

    Opening it does not connect; the first `acquire` does. So Postgres may start after the service.

    `init` runs on each new session. `reset` runs when a session returns to the pool; by default a statement clears the
    session. `command_timeout` is the limit for each statement in seconds.
    """
    return Pool(settings, schema, command_timeout, max_size=size, init=init, reset=reset)


async def no_reset(_: asyncpg.Connection) -> None:
    """A `reset` for `create_pool` that does nothing, which saves a round trip.

    Use it for code that leaves no SET, lock, cursor or temporary table behind. A transaction that is still open is
    rolled back all the same.
    """


@asynccontextmanager
async def closing(pool: asyncpg.Pool, stopping: asyncio.Event) -> AsyncIterator[asyncpg.Pool]:
    """Open the pool for the block and close it afterwards.

    If Postgres does not answer, queries and the close itself would wait. So all connections are cut `_QUERY_SECONDS`
    after `stopping` is set, which makes the queries fail as in an outage, and the close takes at most `_CLOSE_SECONDS`.
    """
    await pool
    cutting = asyncio.create_task(_cut(pool, stopping), name="cut connections at shutdown")
    try:
        yield pool
    finally:
        cutting.cancel()
        await _close(pool)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await pool.close()
    except Exception as error:
        reraise_cancellation()
        log.warning("Postgres did not answer during shutdown", error=type(raise_unless_outage(error)).__name__)


async def _cut(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
    await stopping.wait()
    await asyncio.sleep(_QUERY_SECONDS)
    pool.terminate()
