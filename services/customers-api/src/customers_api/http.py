"""What the REST doors have in common: the router, the connection, paging, a problem."""

from typing import Annotated

from asyncpg.pool import PoolAcquireContext
from fastapi import APIRouter, Query, Request
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
    """For `async with`, around the queries alone: neither a body still to come nor a slow reader must hold one.

    Raises TimeoutError when all stay in use: who waits longer is better told to come back.
    """
    return request.app.state.pool.acquire(timeout=_WAIT_SECONDS)


Limit = Annotated[int, Query(ge=1, le=1000, description="items per answer", examples=[50])]
Offset = Annotated[int, Query(ge=0, le=INT64, description="rows to skip", examples=[0])]
PHONE_TAKEN = openapi.extended(
    openapi.problems(phone_taken=409),
    customer_id={"type": "integer", "description": "who has the phone", "examples": [14722]},
)
