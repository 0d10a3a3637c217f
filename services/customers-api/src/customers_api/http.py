"""What the REST doors have in common: the router, the connection, paging, a problem."""

from collections.abc import AsyncIterator
from typing import Annotated

import asyncpg
from asyncpg.pool import PoolAcquireContext
from fastapi import APIRouter, Depends, Query, Request
from starlette.convertors import StringConvertor, register_url_convertor
from vapteke_shared import openapi
from vapteke_shared.quick import QuickRoute

INT64 = 2**63 - 1
_WAIT_SECONDS = 5


def router(tag: str) -> APIRouter:
    """Its routes go to the app's own: an included router is searched twice in every request."""
    return APIRouter(tags=[tag], route_class=QuickRoute, generate_unique_id_function=openapi.operation_id)


class _CustomerId(StringConvertor):
    """In a path, `{…:customer}` is anything but the lookup, which is no customer and has methods of its own."""

    regex = "(?!lookup/)[^/]+"


register_url_convertor("customer", _CustomerId())


def connection(request: Request) -> PoolAcquireContext:
    """For `async with`. Raises TimeoutError when all stay in use: who waits longer is better told to come back."""
    return request.app.state.pool.acquire(timeout=_WAIT_SECONDS)


async def _connection(request: Request) -> AsyncIterator[asyncpg.Connection]:
    async with connection(request) as connected:
        yield connected


# the connection goes back before the answer is sent: a slow client must not hold it
Connection = Annotated[asyncpg.Connection, Depends(_connection, scope="function")]
Limit = Annotated[int, Query(ge=1, le=1000, description="items per answer", examples=[50])]
Offset = Annotated[int, Query(ge=0, le=INT64, description="rows to skip", examples=[0])]
PHONE_TAKEN = openapi.extended(
    openapi.problems(phone_taken=409),
    customer_id={"type": "integer", "description": "who has the phone", "examples": [14722]},
)
