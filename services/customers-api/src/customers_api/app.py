"""The processes of customers-api and its command line."""

import asyncio

import asyncpg
from fastapi import FastAPI
from vapteke_shared import commands, database, logs, offsets, processes, rest, topics
from vapteke_shared.health import Health

from customers_api import api, api_imports, api_lists, imports, legacy_customers, relay
from customers_api.consumer import ImportConsumers
from customers_api.models import SCHEMA
from customers_api.relay import Relay
from customers_api.settings import ServeSettings, WorkSettings
from customers_api.sweeper import Sweeper

_TAGS = [
    {
        "name": "customers",
        "description": "Registered customers: a phone, and what else is known. Deleted ones can be restored.",
    },
    {"name": "imports", "description": "Loading registered customers from vAptekeSync, one import at a time."},
]
_REPLACED = "Kafka was replaced"

log = logs.get("customers-api")


def create_app(settings: ServeSettings, pool: asyncpg.Pool, state: Health) -> FastAPI:
    """The REST service; the pool and the health are the caller's."""
    return rest.create_app(
        settings,
        pool,
        state,
        service=topics.CUSTOMERS_API,
        summary="Registered customers of the pharmacy chain, and their import from vAptekeSync",
        tags=_TAGS,
        routers=(api.router, api_lists.router, api_imports.router),
    )


async def forget_places(connection: asyncpg.Connection) -> None:
    """Start the topics from the beginning, and fail the import that is alive: its events are lost."""
    await offsets.reset(connection)
    if failed := await imports.fail(connection, _REPLACED):
        log.info("the import that was alive has failed", import_id=str(failed))


cli = commands.create(SCHEMA, "Customers and their import.", ServeSettings, create_app, forget_places)


@cli.command()
def work() -> None:
    """The consumers, the relay and the sweeper."""
    processes.run(WorkSettings, working)


async def working(settings: WorkSettings, stopping: asyncio.Event) -> None:
    """The process `work`, until `stopping`."""
    state = Health("postgres", "outbox", "sweeper", topics.LEGACY_CUSTOMERS.name, topics.IMPORT_PROGRESS.name)
    async with processes.closing(database.create_pool(settings, SCHEMA, 8, legacy_customers.prepare), stopping) as pool:
        consumers = ImportConsumers(settings, pool, state)
        await processes.work(
            settings,
            state,
            stopping,
            {
                "watch": lambda s: database.watch(pool, SCHEMA, state, s),
                "legacy customers": consumers.legacy.run,
                "import progress": consumers.progress.run,
                "relay": Relay(settings, pool, state).run,
                "outbox gauges": lambda s: relay.measure(pool, s),
                "sweeper": Sweeper(pool, state, settings.import_stalled_seconds, settings.imports_kept).run,
            },
        )
