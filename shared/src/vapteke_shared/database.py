"""Postgres: the pool, statements built by SQLAlchemy and run by asyncpg, what two writers may meet."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from vapteke_shared import connections, logs, migrations
from vapteke_shared.health import Health
from vapteke_shared.processes import pause
from vapteke_shared.settings import PostgresSettings, load
from vapteke_shared.tables import Schema

_CHECK_SECONDS = 2

log = logs.get(__name__)

OUTAGES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a loop that asks Postgres again and again may meet while Postgres is away."""

Prepare = Callable[[asyncpg.Connection], Awaitable[None]]


def create_pool(
    settings: PostgresSettings,
    schema: Schema,
    size: int,
    init: Prepare | None = None,
    reset: Prepare | None = None,
    command_timeout: float = 60,
) -> asyncpg.Pool:
    """A pool that connects when it is first used, so that Postgres may come later than the service.

    `reset` is done when a connection comes back; none: a statement that clears its session.
    """
    return asyncpg.create_pool(
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
        min_size=0,
        max_size=size,
        init=init,
        reset=reset,
        timeout=10,
        command_timeout=command_timeout,
        ssl=connections.postgres_tls(settings),
        connect=partial(_connect, settings),
        server_settings={
            "search_path": schema.name,
            "application_name": schema.service,
            "timezone": "UTC",
            "jit": "off",  # it costs more than these statements
            "idle_in_transaction_session_timeout": "60s",  # a frozen process must not keep its locks
        },
    )


async def _connect(settings: PostgresSettings, *arguments: Any, **options: Any) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(*arguments, **options)
    except (OSError, asyncpg.PostgresError) as error:
        raise connections.postgres_fault(settings, error) from None


async def left_as_it_is(_: asyncpg.Connection) -> None:
    """A `reset` that saves a round trip, for who leaves nothing in a session: no SET, lock, cursor or temporary table.

    A transaction that is still open is rolled back all the same.
    """


async def watch(pool: asyncpg.Pool, schema: Schema, state: Health, stopping: asyncio.Event) -> None:
    """Keep the health of `postgres` true: reachable, and migrated at least as far as this release needs."""
    outdated = migrations.outdated(schema)
    while not stopping.is_set():
        try:
            if await pool.fetchval("SELECT version_num FROM alembic_version", timeout=5) in outdated:
                state.ill("postgres", f"the schema is older than the service: `{schema.service} migrate` mends it")
            else:
                state.well("postgres")
        except asyncpg.UndefinedTableError:
            state.ill("postgres", f"the schema is missing: `{schema.service} migrate` makes it")
        except OUTAGES as error:
            state.ill("postgres", connections.told(error, "Postgres does not answer"))
        await pause(stopping, _CHECK_SECONDS)


async def once(schema: Schema, effect: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
    """What a command does in one transaction, with the settings of its environment; SystemExit when it cannot."""
    settings = load(PostgresSettings)
    logs.configure(settings.log_level)
    try:
        async with create_pool(settings, schema, 1) as pool, pool.acquire() as connection, connection.transaction():
            await effect(connection)
    except OUTAGES as error:
        raise SystemExit(connections.told(error, "Postgres does not take it")) from None


class Statement:
    """A statement built once by SQLAlchemy, as the text and the order of parameters that asyncpg takes."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect.dialect()))  # type: ignore[no-untyped-call]
        self.text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()
        self._values = dict(compiled.params)

    def __call__(self, **values: Any) -> tuple[Any, ...]:
        """Text and arguments for `connection.fetch(*statement(...))`."""
        return (self.text, *({**self._values, **values}[name] for name in self._names))


P = ParamSpec("P")
T = TypeVar("T")
_TRIES = 5


class Overtaken(Exception):
    """What was looked at has changed before it was locked."""


CONFLICTS = (
    Overtaken,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
    asyncpg.InvalidCachedStatementError,  # a migration has changed a table that a prepared statement reads
)
"""What two writers at once may meet; the same once more goes well."""


def tried_again(write: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Do a whole transaction again when it met another; at the last try, the conflict is raised."""

    @wraps(write)
    async def patiently(*args: P.args, **options: P.kwargs) -> T:
        for attempt in range(1, _TRIES):
            try:
                return await write(*args, **options)
            except CONFLICTS as error:
                log.info("tried again", write=write.__name__, conflict=type(error).__name__, attempt=attempt)
                await asyncio.sleep(0.05 * attempt * random.random())
        return await write(*args, **options)

    return patiently
