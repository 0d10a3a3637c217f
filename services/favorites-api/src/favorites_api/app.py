"""The processes of favorites-api and its command line."""

import asyncio

import asyncpg
import typer
from fastapi import FastAPI
from vapteke_shared import database, logs, migrations, offsets, processes, rest, topics
from vapteke_shared.health import Health
from vapteke_shared.settings import ServeSettings, WorkSettings

from favorites_api import api, favorites
from favorites_api.consumer import CustomersConsumer
from favorites_api.models import SCHEMA

cli = typer.Typer(no_args_is_help=True, help="Favorites of customers.", pretty_exceptions_enable=False)
offsets_cli = typer.Typer(no_args_is_help=True, help="The places in Kafka that are stored in Postgres.")
cli.add_typer(offsets_cli, name="offsets")

_TAGS = [{"name": "favorites", "description": "Items that customers have marked. Those of deleted ones are hidden."}]
_FOLD_SECONDS = 5

log = logs.get("favorites-api")


def create_app(settings: ServeSettings, pool: asyncpg.Pool, state: Health) -> FastAPI:
    """The REST service; the pool and the health are the caller's."""
    return rest.create_app(
        settings,
        pool,
        state,
        service=topics.FAVORITES_API,
        summary="Favorites of the pharmacy chain's customers",
        tags=_TAGS,
        routers=(api.router,),
    )


@cli.command()
def serve() -> None:
    """The REST service."""
    processes.run(ServeSettings, lambda settings, stopping: rest.serve(settings, SCHEMA, create_app, stopping))


@cli.command()
def work() -> None:
    """Follows the customers: the favorites of deleted ones are hidden, those of restored ones shown."""
    processes.run(WorkSettings, _work)


async def _work(settings: WorkSettings, stopping: asyncio.Event) -> None:
    state = Health("postgres", topics.CUSTOMERS.name)
    async with database.create_pool(settings, SCHEMA, 4) as pool:
        await processes.work(
            settings,
            state,
            stopping,
            lambda s: database.watch(pool, SCHEMA, state, s),
            lambda s: _fold_counts(pool, s),
            CustomersConsumer(settings, pool, state).run,
        )


async def _fold_counts(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            async with pool.acquire() as connection:
                await favorites.fold_counts(connection)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("the counts are not folded", error=type(error).__name__)
        await processes.pause(stopping, _FOLD_SECONDS)


@cli.command()
def migrate() -> None:
    """Bring the schema up to date, as its owner; safe to repeat, and when two run at once."""
    migrations.main(SCHEMA)


@offsets_cli.command()
def reset() -> None:
    """After Kafka was replaced: start its topics from the beginning."""
    asyncio.run(database.once(SCHEMA, offsets.reset))
