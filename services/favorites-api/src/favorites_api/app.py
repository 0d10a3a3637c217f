"""The processes and the command line of favorites-api."""

import asyncio

import asyncpg
from fastapi import FastAPI
from vapteke_shared import commands
from vapteke_shared.contract import topics
from vapteke_shared.http import application
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.postgres import pool_health, pools
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.process import lifecycle, logs, shutdown
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ServeSettings, WorkSettings

from favorites_api import deleted_customers, endpoints, favorites
from favorites_api.consumer import CustomersConsumer
from favorites_api.tables import SCHEMA

_TAGS = [{"name": "favorites", "description": "Items that customers have marked. Deleted customers have none."}]
_MAINTENANCE_SECONDS = 5
_WAIT_SECONDS = 10  # for a connection of the pool

log = logs.get("favorites-api")


def create_app(settings: ServeSettings, pool: asyncpg.Pool, state: Health) -> FastAPI:
    """Create the REST app. The caller opens and closes the pool, and keeps `state` up to date."""
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
    "next, unless it has run since Kafka was replaced: `customers-api events republish`, "
    "which sends all customers again"
)
cli = commands.create(
    SCHEMA, "Favorites of customers.", ServeSettings, create_app, stored_offsets.reset, after_reset=_AFTER_RESET
)


@cli.command()
def work() -> None:
    """Hide the favorites of deleted customers, and show those of restored ones again."""
    lifecycle.run(WorkSettings, working)


async def working(settings: WorkSettings, stopping: asyncio.Event) -> None:
    """Run the process `work` until `stopping` is set. Raises LoopEnded if one of its loops ends by itself."""
    state = Health("postgres", topics.CUSTOMERS.name)
    async with pools.closing(pools.create_pool(settings, SCHEMA, 4), stopping) as pool:
        await lifecycle.work(
            settings,
            state,
            stopping,
            {
                "watch": lambda s: pool_health.watch(pool, SCHEMA, state, s),
                "tidy": lambda s: _maintain(pool, s),
                "customers": CustomersConsumer(settings, pool, state).run,
            },
        )


async def _maintain(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            async with pool.acquire(timeout=_WAIT_SECONDS) as connection:
                await favorites.fold_counts(connection)
                await deleted_customers.erase_favorites(connection)
        except Exception as error:
            reraise_cancellation()
            if not isinstance(error, asyncpg.UndefinedTableError):  # no schema yet: `postgres` in the health says so
                raise_unless_outage(error)
            log.warning("the maintenance of favorites failed", error=type(error).__name__)
        await shutdown.pause(stopping, _MAINTENANCE_SECONDS)
