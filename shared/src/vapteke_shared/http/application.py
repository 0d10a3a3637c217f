"""What all our REST services share: the FastAPI app, its routers, pool connections, and the process `serve`."""

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
from vapteke_shared.http.fast_routes import FastRoute
from vapteke_shared.postgres import pool_health, pools, retries
from vapteke_shared.postgres.tables import Schema
from vapteke_shared.process import health, http_server, lifecycle
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
    """A FastAPI app with the routes of `routers`, our errors, health, documentation pages and authentication.

    The app uses `pool` and `state`, and the caller closes the pool. With AUTH_ENABLED=false, `state` gets a warning and
    every response a header that says so. Raises Unprotected when a route neither requires a scope nor is public.
    """
    app = _App(title=service, version="1", summary=summary, openapi_tags=list(tags), **openapi.OPTIONS)
    app.state.settings, app.state.pool, app.state.health = settings, pool, state
    problems.install(app, retries.CONFLICTS)
    for each in routers:
        app.routes.extend(each.routes)
    app.add_api_route("/health/live", lambda: health.live(state), include_in_schema=False, response_model=None)
    app.add_api_route("/health/ready", lambda: health.ready(state), include_in_schema=False, response_model=None)
    documentation_pages.install(app, settings.docs_enabled, asyncapi.document(service))
    auth.protect(app, settings, service, PUBLIC)
    if not settings.auth_enabled:
        state.warnings["auth"] = auth.OFF
        app.response_headers.append((b"auth-enabled", b"false"))
    app.openapi()  # generated now: the first two readers would otherwise generate it at the same time
    app.add_middleware(SlashAdded)
    return app


class _App(FastAPI):
    """A FastAPI app with our middleware outside everything else, so that even a 500 has `response_headers`.

    Set `app.state.settings` and complete `response_headers` before the first request.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.response_headers = [(b"x-content-type-options", b"nosniff")]

    def build_middleware_stack(self) -> ASGIApp:
        origins = self.state.settings.cors_allowed_origins
        return middleware.wrap(super().build_middleware_stack(), self.response_headers, origins)


def router(tag: str) -> APIRouter:
    """A router for the routes of one OpenAPI tag. Pass it to `create_app`, not to `include_router`.

    `create_app` adds the routes to the app one by one: FastAPI would search an included router twice per request.
    """
    return APIRouter(tags=[tag], route_class=FastRoute, generate_unique_id_function=openapi.operation_id)


def connection(request: Request) -> PoolAcquireContext:
    """A connection from the pool, acquired and released by `async with`.

    Hold the connection only while queries run. Release it before the response is sent, so that a slow caller does not
    occupy a connection. `async with` raises TimeoutError when there is none within 5 seconds; the app turns this and
    any other outage into 503.
    """
    return request.app.state.pool.acquire(timeout=_WAIT_SECONDS)


class SlashAdded:
    """Middleware that adds a missing trailing slash: paths below /rest/ and /grpc/ work with and without one.

    So each route below them must end with a slash, or no request reaches it.
    """

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
    """Serve the app that `create` makes, and watch Postgres, until `stopping` is set.

    Raises SystemExit when a port cannot be used, and LoopEnded when the server or the watch ends by itself.
    """
    listener = http_server.listen(settings.http_host, settings.http_port)
    state = Health("postgres")
    options: dict[str, Any] = {"reset": pools.no_reset, "command_timeout": _REQUEST_SECONDS}
    async with pools.closing(pools.create_pool(settings, schema, _CONNECTIONS, **options), stopping) as pool:
        app = create(settings, pool, state)
        await lifecycle.work(
            settings,
            state,
            stopping,
            {
                "serve": lambda s: http_server.serve(app, listener, s),
                "watch": lambda s: pool_health.watch(pool, schema, state, s),
            },
        )
