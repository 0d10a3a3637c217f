"""The REST door (contract, section Favorites). What people mark in a pharmacy is personal: each call is on record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import asyncpg
from fastapi import Body, Request, Response
from vapteke_shared.http import application, json_answers, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import records
from vapteke_shared.http.lists import pagination, query_parameters

from favorites_api import favorites, schemas
from favorites_api.favorites import CustomerGone
from favorites_api.schemas import (
    AddedFavorites,
    Checked,
    Deleted,
    DeletedQuery,
    FavoriteCheck,
    FavoriteIds,
    FavoriteList,
    FavoriteQuery,
    NewFavorite,
    NewFavorites,
)

router = application.router("favorites")

_PATH = "/rest/v1/favorites/"
_READ, _WRITE = [auth.needs("favorites:read")], [auth.needs("favorites:write")]
_NO_CUSTOMER = openapi.problems(customer_not_found=404)


@router.get(
    _PATH,
    summary="List favorites",
    dependencies=_READ,
    responses={
        200: {
            "model": FavoriteList,
            "description": "The page",
            "headers": openapi.headers(Link=pagination.LINK),
        }
    },
    openapi_extra=query_parameters.parameters(FavoriteQuery),
)
async def list_favorites(request: Request) -> Response:
    """Favorites of customers that are not deleted, in the order of their ids; `count` is exact.

    `Link` leads through all of them: each page costs the same, however deep, which `offset` does not.
    """
    query = query_parameters.read(request, FavoriteQuery)
    place = pagination.place(request, query)
    async with application.connection(request) as connection:
        page = await favorites.page(
            connection, query.filters(), query.limit, after=place.after, offset=query.offset, counted=query.count
        )
    _record(request, "favorites.list", page.rows, query.user_id or ())
    return pagination.answer(request, query, page, [_shown(row) for row in page.rows], place)


@router.post(
    _PATH,
    summary="Add a favorite",
    status_code=201,
    dependencies=_WRITE,
    responses={
        201: {"model": schemas.Favorite, "description": "The favorite, which is new"},
        200: {"model": schemas.Favorite, "description": "The favorite, which was there"},
        **_NO_CUSTOMER,
    },
)
async def add_favorite(request: Request, body: NewFavorite) -> Response:
    """Adding twice gives the same favorite. A customer never heard of is accepted, a deleted one is not."""
    [favorite] = await _add(request, body.user_id, [body.item_id])
    return json_answers.json_response(_shown(favorite), 201 if favorite["created"] else 200)


@router.post(
    _PATH + "bulk/",
    summary="Add many favorites of one customer",
    dependencies=_WRITE,
    responses={200: {"model": AddedFavorites, "description": "What became of each item"}, **_NO_CUSTOMER},
)
async def add_favorites(request: Request, body: NewFavorites) -> Response:
    """All or nothing; `outcome` tells what is new."""
    rows = await _add(request, body.user_id, body.item_ids)
    outcomes = {True: "created", False: "existed"}
    return json_answers.json_response({"items": [{**_shown(row), "outcome": outcomes[row["created"]]} for row in rows]})


@router.post(
    _PATH + "check/",
    summary="Which of these items are favorites",
    dependencies=_READ,
    responses={200: {"model": Checked, "description": "Those that are"}},
)
async def check_favorites(request: Request, body: FavoriteCheck) -> Response:
    """Up to 500 items of one customer in one call. Of a deleted customer: none."""
    async with application.connection(request) as connection:
        held = await favorites.held(connection, body.user_id, body.item_ids)
    records.record(request, "favorites.check", [body.user_id])
    return json_answers.json_response({"item_ids": [each for each in dict.fromkeys(body.item_ids) if each in held]})


@router.delete(
    _PATH,
    summary="Delete favorites",
    dependencies=_WRITE,
    responses={200: {"model": Deleted, "description": "They are gone"}},
    openapi_extra=query_parameters.parameters(DeletedQuery),
)
async def delete_favorites(
    request: Request,
    body: Annotated[FavoriteIds | None, Body(description="which; or `?id=1&id=2` without a body")] = None,
) -> Response:
    """By the body or by the query, not by both. Those that do not exist, or are hidden, do not count."""
    asked = query_parameters.read(request, DeletedQuery).id
    if (body is None) == (asked is None):
        raise query_parameters.refusal("id", "Give the ids in the body or as `?id=1&id=2`, one of the two")
    async with application.connection(request) as connection:
        rows = await favorites.delete(connection, body.id if body else asked)
    _record(request, "favorites.delete", rows)
    return json_answers.json_response({"success": True, "message": None, "data": {"count_deleted": len(rows)}})


async def _add(request: Request, user_id: int, item_ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """A favorite that was there already is read, as its `created_at` is shown. That the customer is deleted is told."""
    try:
        async with application.connection(request) as connection:
            rows = await favorites.add(connection, user_id, item_ids)
    except CustomerGone as gone:
        records.record(request, "favorites.add", [user_id], refused=gone.code)
        raise
    records.record(request, "favorites.add", [user_id])
    if not all(row["created"] for row in rows):
        records.record(request, "favorites.read", [user_id])
    return rows


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in ("id", "user_id", "item_id")}
    return {**shown, "created_at": json_answers.instant(row["created_at"])}


def _record(request: Request, action: str, rows: Iterable[asyncpg.Record], asked: Iterable[int] = ()) -> None:
    """Whose favorites they are, and whose were asked for."""
    records.record(request, action, sorted({*asked, *(row["user_id"] for row in rows)}))
