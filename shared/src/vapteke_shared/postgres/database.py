"""Postgres: the pool, statements built by SQLAlchemy and run by asyncpg, what two writers may meet."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from vapteke_shared.postgres import migrations, sessions
from vapteke_shared.postgres.outages import unless_a_bug
from vapteke_shared.postgres.sessions import ReadOnly, Session
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import cancellation, connections, logs
from vapteke_shared.process.health import Health
from vapteke_shared.process.lifecycle import pause
from vapteke_shared.process.settings import PostgresSettings, load

_CHECK_SECONDS = 1
_ANSWER_SECONDS = 2
_SESSION = {
    "jit": "off",  # it costs more than these statements
    "idle_in_transaction_session_timeout": "60000",  # ms; a frozen process must not keep its locks
}

log = logs.get(__name__)

Prepare = Callable[[asyncpg.Connection], Awaitable[None]]


class Pool(asyncpg.Pool):  # type: ignore[misc]
    """A pool of sessions with the host that accepts writes."""

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
        """The settings of each session. They are set after its start, where a pooler would reject them."""
        self._sessions = WeakSet[Session]()
        super().__init__(
            **options,
            reset=reset or self._clear,
            min_size=0,
            max_queries=50_000,
            max_inactive_connection_lifetime=300,
            loop=None,
            connection_class=Session,
            record_class=asyncpg.Record,
            connect=self._connected,
        )

    async def _connected(self, **_: Any) -> Session:
        session = await self.beside()
        self._sessions.add(session)
        return session

    async def beside(self) -> Session:
        """Open a session that does not belong to the pool."""
        return await sessions.connect(
            self._settings, setup=self._set(), command_timeout=self._command_timeout, server_settings=self._names
        )

    def _set(self) -> str:
        return "".join(f"SET {name} = {value!r};" for name, value in self.session.items())

    async def _clear(self, session: Session) -> None:
        await session.execute(f"SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; {self._set()}")

    async def follow(self, server_started_at: datetime) -> None:
        """Replace all sessions: those with another server at once, the others when they return to the pool."""
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
    """A pool that connects when it is first used, so that Postgres may start after the service.

    `reset` runs when a connection returns to the pool; by default a statement clears the session.
    """
    return Pool(settings, schema, command_timeout, max_size=size, init=init, reset=reset)


async def left_as_it_is(_: asyncpg.Connection) -> None:
    """A `reset` that does nothing and saves a round trip, for code that leaves no SET, lock, cursor or temporary table.

    A transaction that is still open is rolled back nevertheless.
    """


async def watch(pool: Pool, schema: Schema, state: Health, stopping: asyncio.Event) -> None:
    """Report in the health whether Postgres answers, accepts writes, and has the schema that this release needs.

    It also moves the pool to another host or server, and away from a server that no longer accepts writes.
    """
    watcher = _Watcher(pool, schema)
    try:
        while not stopping.is_set():
            if fault := await watcher.fault():
                state.ill("postgres", fault)
            else:
                state.well("postgres")
            await pause(stopping, _CHECK_SECONDS)
    finally:
        watcher.let_go()


class _Watcher:
    """Checks Postgres on its own session, so that it waits neither for the pool nor for a server that is gone."""

    def __init__(self, pool: Pool, schema: Schema) -> None:
        self._pool, self._service = pool, schema.service
        self._outdated = migrations.outdated(schema)
        self._session: Session | None = None

    def let_go(self) -> None:
        if self._session is not None:
            self._session.terminate()
            self._session = None

    async def fault(self) -> str | None:
        try:
            return await self._asked()
        except Exception as error:
            cancellation.reraise_cancellation()
            return connections.told(unless_a_bug(error), "Postgres does not answer")

    async def _asked(self) -> str | None:
        try:
            return await self._ask(await self._met())
        except Exception as error:
            unless_a_bug(error)
            if self._session is None:
                raise
            self.let_go()
        return await self._ask(await self._met())

    async def _met(self) -> Session:
        """The current session, or a new one; after a new one, the pool's sessions are replaced as well."""
        if self._session is None:
            try:
                self._session = await self._pool.beside()
            except ReadOnly:
                await self._pool.expire_connections()
                raise
            await self._pool.follow(self._session.server_started_at)
        return self._session

    async def _ask(self, session: Session) -> str | None:
        await sessions.check(session, _ANSWER_SECONDS)
        try:
            version = await session.fetchval("SELECT version_num FROM alembic_version", timeout=_ANSWER_SECONDS)
        except asyncpg.UndefinedTableError:
            return f"the schema is missing: run `{self._service} migrate`"
        if version in self._outdated:
            return f"the schema is older than the service: run `{self._service} migrate`"
        return None


Effect = Callable[[asyncpg.Connection], Awaitable[Callable[[], None] | None]]
"""Runs in one transaction. The function that it returns is called after the commit."""


async def once(schema: Schema, effect: Effect) -> None:
    """Run the effect of a command in one transaction, with settings from the environment. An outage is SystemExit."""
    settings = load(PostgresSettings)
    logs.configure(settings.log_level)
    try:
        async with create_pool(settings, schema, 1) as pool, pool.acquire() as connection, connection.transaction():
            report = await effect(connection)
    except Exception as error:
        raise SystemExit(connections.told(unless_a_bug(error), "Postgres rejects the command")) from None
    if report is not None:
        report()


class Statement:
    """A statement that SQLAlchemy compiles once, to the text and the order of parameters for asyncpg."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect.dialect()))  # type: ignore[no-untyped-call]
        self.text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()
        self._values = dict(compiled.params)

    def __call__(self, **values: Any) -> tuple[Any, ...]:
        """The text and arguments for `connection.fetch(*statement(...))`."""
        return (self.text, *({**self._values, **values}[name] for name in self._names))


P = ParamSpec("P")
T = TypeVar("T")
_TRIES = 5


class Overtaken(Exception):
    """Data that was read has changed before it was locked."""


CONFLICTS = (
    Overtaken,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
    asyncpg.InvalidCachedStatementError,  # a migration has changed a table that a prepared statement reads
)
"""Errors of concurrent writes: the same transaction succeeds when it is tried again."""


def tried_again(write: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Retry a whole transaction after a conflict with another; the last attempt raises the conflict.

    An outage is raised at once: it is unknown whether the commit succeeded, so the caller must decide.
    """

    @wraps(write)
    async def patiently(*args: P.args, **options: P.kwargs) -> T:
        for n in range(1, _TRIES):
            try:
                return await write(*args, **options)
            except CONFLICTS as error:
                log.info("write conflict, retrying", write=write.__name__, conflict=type(error).__name__, attempt=n)
                await asyncio.sleep(0.05 * n * random.random())
        return await write(*args, **options)

    return patiently
