"""The processes of favorites-api. So far it starts and is healthy; the favorites come with their contract."""

import asyncio

import typer
from fastapi import FastAPI
from vapteke_shared import auth, docs, health, logs, openapi, problems, processes
from vapteke_shared.health import Health
from vapteke_shared.settings import load

from favorites_api.settings import ServeSettings

PUBLIC = ("/health/live", "/health/ready", *docs.PATHS)

cli = typer.Typer(no_args_is_help=True, help="Favorites of customers.", pretty_exceptions_enable=False)


@cli.callback()
def main() -> None:
    """Favorites of customers."""


def create_app(settings: ServeSettings, state: Health) -> FastAPI:
    app = FastAPI(
        title="favorites-api",
        version="1",
        summary="Favorites of the pharmacy chain's customers",
        **openapi.OPTIONS,
    )
    problems.install(app)
    app.add_api_route("/health/live", health.live, include_in_schema=False)
    app.add_api_route("/health/ready", lambda: health.ready(state), include_in_schema=False, response_model=None)
    docs.install(app, settings.docs_enabled)
    auth.protect(app, settings, PUBLIC)
    return app


@cli.command()
def serve() -> None:
    """The REST service."""
    settings = load(ServeSettings)
    logs.configure(settings.log_level)
    processes.run(lambda stopping: _serve(settings, stopping))


async def _serve(settings: ServeSettings, stopping: asyncio.Event) -> None:
    state = Health()
    async with processes.served(create_app(settings, state), settings.http_host, settings.http_port):
        await processes.work(settings, state, stopping, _wait)


async def _wait(stopping: asyncio.Event) -> None:
    await stopping.wait()
