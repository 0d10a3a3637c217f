"""A REST service: the app that every service of ours is, its routers, and its process."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from asyncpg.pool import PoolAcquireContext
from fastapi import APIRouter, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from vapteke_shared.contract import asyncapi
from vapteke_shared.http import documentation_pages, middleware, openapi, problems
from vapteke_shared.http.access import auth
from vapteke_shared.http.fast_routes import QuickRoute
from vapteke_shared.postgres import database, pool_shutdown
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import health, lifecycle
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ServeSettings

PUBLIC = ("/health/live", "/health/ready", *documentation_pages.PATHS)
_CONNECTIONS = 10
_WAIT_SECONDS = 5
_REQUEST_SECONDS = 15  # for one statement


def create_app(
    settings: ServeSettings,
    pool: asyncpg.Pool,
    state: Health,
    *,
    service: str,
    summary: str,
    tags: Sequence[dict[str, Any]],
    routers: Sequence[APIRouter],
) -> FastAPI:
    """The pool and the health are the caller's."""
    app = _App(title=service, version="1", summary=summary, openapi_tags=list(tags), **openapi.OPTIONS)
    app.state.settings, app.state.pool, app.state.health = settings, pool, state
    problems.install(app, database.CONFLICTS)
    for each in routers:
        app.routes.extend(each.routes)
    app.add_api_route("/health/live", lambda: health.live(state), include_in_schema=False, response_model=None)
    app.add_api_route("/health/ready", lambda: health.ready(state), include_in_schema=False, response_model=None)
    documentation_pages.install(app, settings.docs_enabled, asyncapi.document(service))
    auth.protect(app, settings, service, PUBLIC)
    if not settings.auth_enabled:
        state.warnings["auth"] = auth.OFF
        app.answer_headers.append((b"auth-enabled", b"false"))
    app.openapi()  # made now: two first readers would make it at once
    app.add_middleware(SlashAdded)
    return app


class _App(FastAPI):
    """Has an edge around all of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answer_headers = [(b"x-content-type-options", b"nosniff")]

    def build_middleware_stack(self) -> ASGIApp:
        origins = self.state.settings.cors_allowed_origins
        return middleware.around(super().build_middleware_stack(), self.answer_headers, origins)


def router(tag: str) -> APIRouter:
    """Its routes go to the app's own: an included router is searched twice in every request."""
    return APIRouter(tags=[tag], route_class=QuickRoute, generate_unique_id_function=openapi.operation_id)


def connection(request: Request) -> PoolAcquireContext:
    """For `async with`, around the queries alone: neither a body still to come nor a slow reader must hold one.

    Raises TimeoutError when all stay in use: who waits longer is better told to come back.
    """
    return request.app.state.pool.acquire(timeout=_WAIT_SECONDS)


class SlashAdded:
    """Every path of the contract answers with and without its trailing slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/rest/", "/grpc/")) and scope["path"][-1] != "/":
            scope = {**scope, "path": scope["path"] + "/"}
        await self._app(scope, receive, send)


async def serve(
    settings: ServeSettings,
    schema: Schema,
    create: Callable[[Any, asyncpg.Pool, Health], FastAPI],
    stopping: asyncio.Event,
) -> None:
    """The process `serve`, until `stopping`."""
    listener = lifecycle.listen(settings.http_host, settings.http_port)
    state = Health("postgres")
    options: dict[str, Any] = {"reset": database.left_as_it_is, "command_timeout": _REQUEST_SECONDS}
    async with pool_shutdown.closing(database.create_pool(settings, schema, _CONNECTIONS, **options), stopping) as pool:
        app = create(settings, pool, state)
        await lifecycle.work(
            settings,
            state,
            stopping,
            {
                "serve": lambda s: lifecycle.serve(app, listener, s),
                "watch": lambda s: database.watch(pool, schema, state, s),
            },
        )
