"""The commands that every service with a database has: `serve`, `migrate` and `offsets reset`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import typer
from fastapi import FastAPI

from vapteke_shared import database, migrations, processes, rest
from vapteke_shared.health import Health
from vapteke_shared.settings import ServeSettings
from vapteke_shared.tables import Schema


def create(
    schema: Schema,
    help: str,  # noqa: A002 - Typer's own word
    settings: type[ServeSettings],
    create_app: Callable[[Any, asyncpg.Pool, Health], FastAPI],
    forget: Callable[[asyncpg.Connection], Awaitable[None]],
) -> typer.Typer:
    """The command line, to which the service adds its own `work`; `forget` is what `offsets reset` does."""
    cli = typer.Typer(no_args_is_help=True, help=help, pretty_exceptions_enable=False)
    offsets = typer.Typer(no_args_is_help=True, help="The places in Kafka that are stored in Postgres.")
    cli.add_typer(offsets, name="offsets")

    @cli.command()
    def serve() -> None:
        """The REST service."""
        processes.run(settings, lambda given, stopping: rest.serve(given, schema, create_app, stopping))

    @cli.command()
    def migrate() -> None:
        """Bring the schema up to date, as its owner; safe to repeat, and when two run at once."""
        migrations.main(schema)

    @offsets.command(help=f"After Kafka was replaced. {forget.__doc__}")
    def reset() -> None:
        asyncio.run(database.once(schema, forget))

    return cli
