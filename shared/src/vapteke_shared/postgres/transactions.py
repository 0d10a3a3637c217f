"""Runs the effect of a command-line command in one transaction."""

from collections.abc import Awaitable, Callable

import asyncpg

from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.postgres.pools import create_pool
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import connection_errors, logs
from vapteke_shared.process.settings import PostgresSettings, load

Effect = Callable[[asyncpg.Connection], Awaitable[Callable[[], None] | None]]
"""What a command does in its transaction. It may return a function, which is called after the commit."""


async def run_command(schema: Schema, effect: Effect) -> None:
    """Run the effect of a command in one transaction, with settings from the environment.

    After the commit, calls the function that the effect returns, if any. If the effect raises, the transaction is
    rolled back, and the error is raised; an outage becomes a SystemExit with a text for the operator. Nothing is
    retried.
    """
    settings = load(PostgresSettings)
    logs.configure(settings.log_level)
    try:
        async with create_pool(settings, schema, 1) as pool, pool.acquire() as connection, connection.transaction():
            report = await effect(connection)
    except Exception as error:
        raise SystemExit(
            connection_errors.describe(raise_unless_outage(error), "Postgres rejects the command")
        ) from None
    if report is not None:
        report()
