"""Postgres: the pool, statements built by `select()` and run by asyncpg, and the migrations."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from importlib.resources import files
from typing import Any, ParamSpec, TypeVar, cast

import alembic.command
import asyncpg
from alembic.config import Config
from sqlalchemy import URL
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from vapteke_shared import logs
from vapteke_shared.settings import PostgresOwnerSettings, PostgresSettings

from customers_api.models import SCHEMA

log = logs.get(__name__)


Prepare = Callable[[asyncpg.Connection], Awaitable[None]]


def create_pool(
    settings: PostgresSettings,
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
        server_settings={
            "search_path": SCHEMA,
            "application_name": "customers-api",
            "timezone": "UTC",
            "jit": "off",  # it costs more than these statements
            "idle_in_transaction_session_timeout": "60s",  # a frozen process must not keep its locks
        },
    )


async def left_as_it_is(_: asyncpg.Connection) -> None:
    """A `reset` that saves a round trip, for who leaves nothing in a session: no SET, lock, cursor or temporary table.

    A transaction that is still open is rolled back all the same.
    """


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


def migrate(settings: PostgresOwnerSettings, wait_seconds: float = 60) -> None:
    """Bring the schema up to date as its owner, waiting for Postgres to come up; safe when two run at once."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            alembic.command.upgrade(alembic_config(settings), "head")
        except (OSError, asyncpg.CannotConnectNowError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"customers-api migrate: Postgres does not answer: {type(error).__name__}") from None
            time.sleep(0.5)
        else:
            log.info("the schema is up to date", schema=SCHEMA)
            return


def alembic_config(settings: PostgresOwnerSettings) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("customers_api") / "migrations"))
    config.attributes["url"] = URL.create(
        "postgresql+asyncpg",
        settings.postgres_owner_user,
        settings.postgres_owner_password.get_secret_value(),
        settings.postgres_host,
        settings.postgres_port,
        settings.postgres_db,
    )
    config.attributes["app_user"] = settings.postgres_user
    return config
