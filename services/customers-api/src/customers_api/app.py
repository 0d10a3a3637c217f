"""The processes of customers-api and its command line."""

import asyncio

import asyncpg
import typer
from fastapi import FastAPI
from vapteke_shared import database, logs, migrations, offsets, processes, rest, topics
from vapteke_shared.health import Health

from customers_api import api, api_imports, api_lists, imports, legacy_customers, relay
from customers_api.consumer import ImportConsumers
from customers_api.models import SCHEMA
from customers_api.relay import Relay
from customers_api.settings import ServeSettings, WorkSettings
from customers_api.sweeper import Sweeper

cli = typer.Typer(no_args_is_help=True, help="Customers and their import.", pretty_exceptions_enable=False)
offsets_cli = typer.Typer(no_args_is_help=True, help="The places in Kafka that are stored in Postgres.")
cli.add_typer(offsets_cli, name="offsets")

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


@cli.command()
def serve() -> None:
    """The REST service."""
    processes.run(ServeSettings, lambda settings, stopping: rest.serve(settings, SCHEMA, create_app, stopping))


@cli.command()
def work() -> None:
    """The consumers, the relay and the sweeper."""
    processes.run(WorkSettings, _work)


async def _work(settings: WorkSettings, stopping: asyncio.Event) -> None:
    state = Health("postgres", "outbox", "sweeper", topics.LEGACY_CUSTOMERS.name, topics.IMPORT_PROGRESS.name)
    async with database.create_pool(settings, SCHEMA, 8, legacy_customers.prepare) as pool:
        consumers = ImportConsumers(settings, pool, state)
        await processes.work(
            settings,
            state,
            stopping,
            lambda s: database.watch(pool, SCHEMA, state, s),
            consumers.legacy.run,
            consumers.progress.run,
            Relay(settings, pool, state).run,
            lambda s: relay.measure(pool, s),
            Sweeper(pool, state, settings.import_stalled_seconds).run,
        )


@cli.command()
def migrate() -> None:
    """Bring the schema up to date, as its owner; safe to repeat, and when two run at once."""
    migrations.main(SCHEMA)


@offsets_cli.command()
def reset() -> None:
    """After Kafka was replaced: start its topics from the beginning, and fail the import that was alive."""
    asyncio.run(database.once(SCHEMA, forget_places))


async def forget_places(connection: asyncpg.Connection) -> None:
    """Delete the stored offsets, and fail the import that is alive: its events are lost."""
    await offsets.reset(connection)
    failed = await imports.fail(connection, _REPLACED)
    log.info("the places are forgotten", failed_import=str(failed) if failed else None)
