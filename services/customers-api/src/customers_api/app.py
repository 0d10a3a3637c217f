"""The command line and the processes of customers-api."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import asyncpg
import typer
from fastapi import FastAPI
from vapteke_shared import commands
from vapteke_shared.contract import topics
from vapteke_shared.http import application
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.postgres import pool_health, pools
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.process import connection_errors, lifecycle, logs
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import PostgresSettings, load

from customers_api.customers import endpoints as customer_endpoints
from customers_api.customers import list_endpoints, republish
from customers_api.imports import command as import_command
from customers_api.imports import (
    deletion_endpoints,
    difference_endpoints,
    outcomes,
    reread_customers,
    row_endpoints,
    writes,
)
from customers_api.imports import endpoints as import_endpoints
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.gone_rows import Deletions
from customers_api.imports.sweeper import Sweeper
from customers_api.outbox import relay
from customers_api.outbox.relay import Relay
from customers_api.schedule import endpoints as schedule_endpoints
from customers_api.schedule.scheduler import Scheduler
from customers_api.settings import ServeSettings, WorkSettings
from customers_api.tables import SCHEMA

_TAGS = [
    {
        "name": "customers",
        "description": "Registered customers: a phone and a profile. Deleted customers can be restored.",
    },
    {"name": "imports", "description": "Imports of registered customers from vAptekeSync."},
]
_REPLACED = "Kafka was replaced"
_AFTER_RESET = (
    "next: `customers-api events republish` sends every customer's state to the new Kafka; then start an import"
)

log = logs.get("customers-api")


def create_app(settings: ServeSettings, pool: asyncpg.Pool, state: Health) -> FastAPI:
    """Create the REST app. The caller opens and closes the pool, and keeps `state` up to date."""
    return application.create_app(
        settings,
        pool,
        state,
        service=topics.CUSTOMERS_API,
        summary="Registered customers of the pharmacy chain, and their import from vAptekeSync",
        tags=_TAGS,
        routers=(
            customer_endpoints.router,
            list_endpoints.router,
            schedule_endpoints.router,
            import_endpoints.router,
            deletion_endpoints.router,
            difference_endpoints.router,
            row_endpoints.router,
        ),
    )


async def reset_offsets(connection: asyncpg.Connection) -> Callable[[], None] | None:
    """Delete the stored offsets, so that the topics are read from the beginning. Fail the unfinished imports, because
    their events are lost. Abandon an unfinished `events republish`.
    """
    await stored_offsets.reset(connection)
    await republish.abandon(connection)
    failed = await writes.fail_unfinished(connection, _REPLACED)
    return partial(_report_all, failed) if failed else None


def _report_all(failed: Sequence[asyncpg.Record]) -> None:
    for job in failed:
        outcomes.report_verdict(job)


cli = commands.create(
    SCHEMA, "Customers and their imports.", ServeSettings, create_app, reset_offsets, after_reset=_AFTER_RESET
)
events = typer.Typer(no_args_is_help=True, help="The events of customers for other services.")
cli.add_typer(events, name="events")
cli.command("import", cls=import_command.ImportCommand)(import_command.run)


@events.command("republish")
def republish_customers(
    rate: Annotated[int, typer.Option(min=1, max=100_000, help="Customers per second at most.")] = 1000,
    from_start: Annotated[bool, typer.Option("--from-start", help="Abandon an unfinished run.")] = False,
) -> None:
    """Send the current state of every customer again, also of deleted ones. Needed after Kafka was replaced. Safe to
    repeat and to interrupt.
    """
    asyncio.run(_republish(rate, from_start))


async def _republish(rate: int, from_start: bool) -> None:
    settings = load(PostgresSettings)
    logs.configure("ERROR")
    try:
        async with pools.create_pool(settings, SCHEMA, 1) as pool, pool.acquire() as connection:
            sent = await republish.Republication(connection, rate, typer.echo).run(from_start)
    except republish.AlreadyRunning:
        raise SystemExit("another process is already republishing customers; wait for it to end") from None
    except republish.RunAbandoned:
        raise SystemExit(
            "`offsets reset` abandoned this run; run the same command again to send every customer"
        ) from None
    except Exception as error:
        text = connection_errors.describe(raise_unless_outage(error), "Postgres rejects the command")
        raise SystemExit(f"{text}; run the same command again to continue") from None
    typer.echo(f"{sent:,} customers are in the outbox; `customers-api work` sends them")


@cli.command()
def work() -> None:
    """Run the consumers, the relay, the sweeper, and the loop that rewrites texts of an earlier release."""
    lifecycle.run(WorkSettings, working)


async def working(settings: WorkSettings, stopping: asyncio.Event) -> None:
    """Run the process `work` until `stopping` is set. Raises LoopEnded if one of its loops ends by itself."""
    state = Health("postgres", "outbox", "sweeper", "texts", topics.LEGACY_CUSTOMERS.name, topics.IMPORT_PROGRESS.name)
    made = pools.create_pool(settings, SCHEMA, 9)
    async with pools.closing(made, stopping) as pool:
        consumers, outbox = ImportConsumers(settings, pool, state), Relay(settings, pool, state)
        deletions = Deletions(
            settings.import_deletions, settings.import_deletions_limit, settings.import_deletions_limit_percent
        )
        scheduler = Scheduler(settings.schedule, settings.import_range_rows)
        sweeper = Sweeper(
            pool,
            state,
            settings.import_stalled_seconds,
            settings.imports_kept,
            deletions,
            scheduler,
            settings.import_range_rows,
        )
        consumers.legacy.after_batch = consumers.progress.after_batch = [outbox.wake_up.call, sweeper.wake_up.call]
        await lifecycle.work(
            settings,
            state,
            stopping,
            {
                "watch": lambda s: pool_health.watch(pool, SCHEMA, state, s),
                "legacy customers": consumers.legacy.run,
                "import progress": consumers.progress.run,
                "relay": outbox.run,
                "outbox gauges": lambda s: relay.measure(pool, s),
                "sweeper": sweeper.run,
                "texts": lambda s: reread_customers.run(pool, state, s),
            },
        )
