"""The commands of every service with a database: `serve`, `migrate`, `token` and `offsets reset`."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import asyncpg
import typer
from fastapi import FastAPI

from vapteke_shared.http import application
from vapteke_shared.http.access import tokens
from vapteke_shared.postgres import migrations, transactions
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import lifecycle
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import AuthSettings, ServeSettings, load


def create(
    schema: Schema,
    help: str,  # noqa: A002 - Typer's own word
    settings: type[ServeSettings],
    create_app: Callable[[Any, asyncpg.Pool, Health], FastAPI],
    forget: transactions.Effect,
    *,
    after_reset: str,
) -> typer.Typer:
    """The command line of a service, with all commands but `work`, which the service adds.

    `offsets reset` runs `forget` in one transaction and then prints `after_reset`, which says what the operator should
    do next. The docstring of `forget` is part of the command's help.
    """
    cli = typer.Typer(no_args_is_help=True, help=help, pretty_exceptions_enable=False)
    offsets = typer.Typer(no_args_is_help=True, help="The Kafka offsets that are stored in Postgres.")
    cli.add_typer(offsets, name="offsets")

    @cli.command()
    def serve() -> None:
        """Run the REST service."""
        lifecycle.run(settings, lambda given, stopping: application.serve(given, schema, create_app, stopping))

    @cli.command()
    def migrate() -> None:
        """Bring the schema up to date, logged in as its owner. Safe to repeat, also while another `migrate` runs."""
        migrations.main(schema)

    @cli.command()
    def token(
        subject: Annotated[str, typer.Option(help="Who uses the token, for the audit log.")],
        scope: Annotated[list[str] | None, typer.Option(help=tokens.SCOPE_HELP)] = None,
        audience: Annotated[
            list[str] | None,
            typer.Option(help=f"A service it is for, repeatable: {', '.join(tokens.AUDIENCES)}. Default: this one."),
        ] = None,
        ttl: Annotated[str, typer.Option(help="How long it is valid: seconds, or 15m, 12h, 30d and the like.")] = "12h",
    ) -> None:
        """Print a bearer token, signed with SECRET_KEY."""
        try:
            duration = tokens.duration(ttl)
            made = tokens.issue(load(AuthSettings), subject, scope or (), duration, audience or [schema.service])
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if not scope:
            typer.echo(tokens.NO_SCOPE, err=True)
        typer.echo(made)

    @offsets.command(help=f"After Kafka was replaced. {forget.__doc__}")
    def reset() -> None:
        asyncio.run(transactions.run_command(schema, forget))
        typer.echo(after_reset)

    return cli
