"""The processes of favorites-api and its command line."""

import asyncio

import asyncpg
from fastapi import FastAPI
from vapteke_shared import commands
from vapteke_shared.contract import topics
from vapteke_shared.http import application
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.postgres import database, pool_shutdown
from vapteke_shared.postgres.outages import unless_a_bug
from vapteke_shared.process import lifecycle, logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ServeSettings, WorkSettings

from favorites_api import deleted_customers, endpoints, favorites
from favorites_api.consumer import CustomersConsumer
from favorites_api.models import SCHEMA

_TAGS = [{"name": "favorites", "description": "Items that customers have marked. Those of deleted ones are hidden."}]
_TIDY_SECONDS = 5
_WAIT_SECONDS = 10  # for a connection, and for giving it back

log = logs.get("favorites-api")


def create_app(settings: ServeSettings, pool: asyncpg.Pool, state: Health) -> FastAPI:
    """The REST service; the pool and the health are the caller's."""
    return application.create_app(
        settings,
        pool,
        state,
        service=topics.FAVORITES_API,
        summary="Favorites of the pharmacy chain's customers",
        tags=_TAGS,
        routers=(endpoints.router,),
    )


_AFTER_RESET = (
    "next, unless it was run since Kafka is new: `customers-api events republish`, which tells of all customers again"
)
cli = commands.create(
    SCHEMA, "Favorites of customers.", ServeSettings, create_app, stored_offsets.reset, after_reset=_AFTER_RESET
)


@cli.command()
def work() -> None:
    """Follows the customers: the favorites of deleted ones are hidden, those of restored ones shown."""
    lifecycle.run(WorkSettings, working)


async def working(settings: WorkSettings, stopping: asyncio.Event) -> None:
    """The process `work`, until `stopping`."""
    state = Health("postgres", topics.CUSTOMERS.name)
    async with pool_shutdown.closing(database.create_pool(settings, SCHEMA, 4), stopping) as pool:
        await lifecycle.work(
            settings,
            state,
            stopping,
            {
                "watch": lambda s: database.watch(pool, SCHEMA, state, s),
                "tidy": lambda s: _tidy(pool, s),
                "customers": CustomersConsumer(settings, pool, state).run,
            },
        )


async def _tidy(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            async with pool.acquire(timeout=_WAIT_SECONDS) as connection:
                await favorites.fold_counts(connection)
                await deleted_customers.erase_favorites(connection)
        except Exception as error:
            reraise_cancellation()
            log.warning("the favorites are not tidied", error=type(unless_a_bug(error)).__name__)
        await lifecycle.pause(stopping, _TIDY_SECONDS)
