"""The REST endpoints (docs/contract.md, "Favorites").

What people mark in a pharmacy is personal, so each endpoint must record in the audit log whose favorites it read or
changed, before it responds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import asyncpg
from fastapi import Body, Request, Response
from vapteke_shared.http import application, json_responses, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import pagination, query_parameters

from favorites_api import favorites, response_models
from favorites_api.favorites import CustomerIsDeleted
from favorites_api.list_parameters import DeletedQuery, FavoriteQuery
from favorites_api.request_models import FavoriteCheck, FavoriteIds, NewFavorite, NewFavorites
from favorites_api.response_models import AddedFavorites, Checked, Deleted, FavoriteList

router = application.router("favorites")

_PATH = "/rest/v1/favorites/"
_READ, _WRITE = [auth.require_scope("favorites:read")], [auth.require_scope("favorites:write")]
_NO_CUSTOMER = openapi.problems(customer_not_found=404)


@router.get(
    _PATH,
    summary="List favorites",
    dependencies=_READ,
    responses={
        200: {
            "model": FavoriteList,
            "description": "One page of favorites",
            "headers": openapi.headers(Link=pagination.LINK),
        }
    },
    openapi_extra=query_parameters.parameters(FavoriteQuery),
)
async def list_favorites(request: Request) -> Response:
    """Favorites of active customers, ordered by id; `count` is exact.

    Follow the `Link` header to read all pages. Every page then costs the same, while a larger `offset` costs more.
    """
    query = query_parameters.read(request, FavoriteQuery)
    position = pagination.position(request, query)
    async with application.connection(request) as connection:
        page = await favorites.page(
            connection, query.filters(), query.limit, after=position.after, offset=query.offset, counted=query.count
        )
    _record(request, "favorites.list", page.rows, query.user_id or ())
    return pagination.response(request, query, page, [_response(row) for row in page.rows], position)


@router.post(
    _PATH,
    summary="Add a favorite",
    status_code=201,
    dependencies=_WRITE,
    responses={
        201: {"model": response_models.Favorite, "description": "The favorite is new"},
        200: {"model": response_models.Favorite, "description": "The favorite already existed"},
        **_NO_CUSTOMER,
    },
)
async def add_favorite(request: Request, body: NewFavorite) -> Response:
    """Adding an item twice returns the same favorite. Unknown customers are accepted, deleted ones are not."""
    [favorite] = await _add(request, body.user_id, [body.item_id])
    return json_responses.json_response(_response(favorite), 201 if favorite["created"] else 200)


@router.post(
    _PATH + "bulk/",
    summary="Add many favorites of one customer",
    dependencies=_WRITE,
    responses={200: {"model": AddedFavorites, "description": "The favorite of each item"}, **_NO_CUSTOMER},
)
async def add_favorites(request: Request, body: NewFavorites) -> Response:
    """Adds all items or none. `outcome` shows which favorites are new."""
    rows = await _add(request, body.user_id, body.item_ids)
    outcomes = {True: "created", False: "existed"}
    return json_responses.json_response(
        {"items": [{**_response(row), "outcome": outcomes[row["created"]]} for row in rows]}
    )


@router.post(
    _PATH + "check/",
    summary="Which of these items are favorites",
    dependencies=_READ,
    responses={200: {"model": Checked, "description": "The items that are favorites"}},
)
async def check_favorites(request: Request, body: FavoriteCheck) -> Response:
    """Checks up to 500 items of one customer. A deleted customer has no favorites."""
    async with application.connection(request) as connection:
        found = await favorites.find_items(connection, body.user_id, body.item_ids)
    data_access.record(request, "favorites.check", [body.user_id])
    return json_responses.json_response({"item_ids": [item for item in dict.fromkeys(body.item_ids) if item in found]})


@router.delete(
    _PATH,
    summary="Delete favorites",
    dependencies=_WRITE,
    responses={200: {"model": Deleted, "description": "The favorites are deleted"}},
    openapi_extra=query_parameters.parameters(DeletedQuery),
)
async def delete_favorites(
    request: Request,
    body: Annotated[
        FavoriteIds | None, Body(description="the ids to delete; or use `?id=1&id=2` without a body")
    ] = None,
) -> Response:
    """Give the ids in the body or in the query, not in both. Favorites that do not exist or are hidden do not count."""
    ids = query_parameters.read(request, DeletedQuery).id
    if (body is None) == (ids is None):
        raise query_parameters.invalid_parameter("id", "Give the ids either in the body or as `?id=1&id=2`")
    async with application.connection(request) as connection:
        rows = await favorites.delete(connection, body.id if body else ids)
    _record(request, "favorites.delete", rows)
    return json_responses.json_response({"success": True, "message": None, "data": {"count_deleted": len(rows)}})


async def _add(request: Request, user_id: int, item_ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """Add favorites and write an audit record. Returns the rows of `favorites.add`.

    Raises CustomerIsDeleted, after an audit record of the refusal. If some favorites already existed, a second record
    says that they were read: the response shows their `created_at`.
    """
    try:
        async with application.connection(request) as connection:
            rows = await favorites.add(connection, user_id, item_ids)
    except CustomerIsDeleted as error:
        data_access.record(request, "favorites.add", [user_id], refused=error.code)
        raise
    data_access.record(request, "favorites.add", [user_id])
    if not all(row["created"] for row in rows):
        data_access.record(request, "favorites.read", [user_id])
    return rows


def _response(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: row[name] for name in ("id", "user_id", "item_id")}
    return {**fields, "created_at": json_responses.instant(row["created_at"])}


def _record(request: Request, action: str, rows: Iterable[asyncpg.Record], filters: Iterable[int] = ()) -> None:
    """Write an audit record that names the customers to whom the rows belong and the customers in `filters`."""
    data_access.record(request, action, sorted({*filters, *(row["user_id"] for row in rows)}))
