"""The processes of customers-api and its command line."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
import typer
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from vapteke_shared import asyncapi, auth, docs, health, logs, offsets, openapi, problems, processes, topics
from vapteke_shared.health import Health
from vapteke_shared.settings import PostgresSettings, load

from customers_api import api, api_imports, api_lists, database, imports, legacy_customers, relay
from customers_api.consumer import ImportConsumers
from customers_api.relay import Relay
from customers_api.settings import MigrateSettings, ServeSettings, WorkSettings
from customers_api.sweeper import Sweeper

cli = typer.Typer(no_args_is_help=True, help="Customers and their import.", pretty_exceptions_enable=False)
offsets_cli = typer.Typer(no_args_is_help=True, help="The places in Kafka that are stored in Postgres.")
cli.add_typer(offsets_cli, name="offsets")

PUBLIC = ("/health/live", "/health/ready", *docs.PATHS)
_TAGS = [
    {
        "name": "customers",
        "description": "Registered customers: a phone, and what else is known. Deleted ones can be restored.",
    },
    {"name": "imports", "description": "Loading registered customers from vAptekeSync, one import at a time."},
]
_REPLACED = "Kafka was replaced"
_DATABASE_CHECK_SECONDS = 2
_REQUEST_SECONDS = 15  # for one statement; a batch of an import may take longer

log = logs.get("customers-api")


def create_app(settings: ServeSettings, pool: asyncpg.Pool, state: Health) -> FastAPI:
    """The REST service; the pool and the health are the caller's."""
    app = FastAPI(
        title="customers-api",
        version="1",
        summary="Registered customers of the pharmacy chain, and their import from vAptekeSync",
        openapi_tags=_TAGS,
        **openapi.OPTIONS,
    )
    app.state.settings, app.state.pool = settings, pool
    problems.install(app, database.CONFLICTS)
    for router in (api.router, api_lists.router, api_imports.router):
        app.routes.extend(router.routes)
    app.add_api_route("/health/live", health.live, include_in_schema=False)
    app.add_api_route("/health/ready", lambda: health.ready(state), include_in_schema=False, response_model=None)
    docs.install(app, settings.docs_enabled, asyncapi.document(topics.CUSTOMERS_API))
    auth.protect(app, settings, PUBLIC)
    app.openapi()  # made now: two first readers would make it at once
    app.add_middleware(SlashAdded)
    return app


class SlashAdded:
    """Every path of the contract answers with and without its trailing slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/rest/", "/grpc/")) and scope["path"][-1] != "/":
            scope = {**scope, "path": scope["path"] + "/"}
        await self._app(scope, receive, send)


@cli.command()
def serve() -> None:
    """The REST service."""
    settings = load(ServeSettings)
    logs.configure(settings.log_level)
    processes.run(lambda stopping: _serve(settings, stopping))


async def _serve(settings: ServeSettings, stopping: asyncio.Event) -> None:
    state = Health("postgres")
    async with AsyncExitStack() as stack:
        pool = database.create_pool(settings, 10, reset=database.left_as_it_is, command_timeout=_REQUEST_SECONDS)
        await stack.enter_async_context(pool)
        app = create_app(settings, pool, state)
        await stack.enter_async_context(processes.served(app, settings.http_host, settings.http_port))
        log.info("serving", host=settings.http_host, port=settings.http_port)
        await processes.work(settings, state, stopping, lambda s: _watch_database(pool, state, s))


@cli.command()
def work() -> None:
    """The consumers, the relay and the sweeper."""
    settings = load(WorkSettings)
    logs.configure(settings.log_level)
    processes.run(lambda stopping: _work(settings, stopping))


async def _work(settings: WorkSettings, stopping: asyncio.Event) -> None:
    state = Health("postgres", "outbox", "sweeper", topics.LEGACY_CUSTOMERS.name, topics.IMPORT_PROGRESS.name)
    async with database.create_pool(settings, 8, legacy_customers.prepare) as pool:
        consumers = ImportConsumers(settings, pool, state)
        await processes.work(
            settings,
            state,
            stopping,
            lambda s: _watch_database(pool, state, s),
            consumers.legacy.run,
            consumers.progress.run,
            Relay(settings, pool, state).run,
            lambda s: relay.measure(pool, s),
            Sweeper(pool, state, settings.import_stalled_seconds).run,
        )


async def _watch_database(pool: asyncpg.Pool, state: Health, stopping: asyncio.Event) -> None:
    """Keep the health of `postgres` true: reachable, and migrated."""
    while not stopping.is_set():
        try:
            await pool.fetchval("SELECT version_num FROM alembic_version", timeout=5)
            state.well("postgres")
        except asyncpg.UndefinedTableError:
            state.ill("postgres", "the schema is missing: `customers-api migrate` makes it")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            state.ill("postgres", f"Postgres does not answer: {type(error).__name__}")
        await processes.pause(stopping, _DATABASE_CHECK_SECONDS)


@cli.command()
def migrate() -> None:
    """Bring the schema up to date, as its owner; safe to repeat, and when two run at once."""
    settings = load(MigrateSettings)
    logs.configure(settings.log_level)
    database.migrate(settings)


@offsets_cli.command()
def reset() -> None:
    """After Kafka was replaced: start its topics from the beginning, and fail the import that was alive."""
    settings = load(PostgresSettings)
    logs.configure(settings.log_level)
    asyncio.run(_reset(settings))


async def _reset(settings: PostgresSettings) -> None:
    async with database.create_pool(settings, 1) as pool:
        await forget_places(pool)


async def forget_places(pool: asyncpg.Pool) -> None:
    """Delete the stored offsets, and fail the import that is alive: its events are lost."""
    async with pool.acquire() as connection, connection.transaction():
        await offsets.reset(connection)
        failed = await imports.fail(connection, _REPLACED)
    log.info("the places are forgotten", failed_import=str(failed) if failed else None)
