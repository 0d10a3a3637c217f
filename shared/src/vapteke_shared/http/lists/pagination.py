"""Pages of lists that are ordered by id: reading a page, and responding with it and a link to the next page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
from fastapi import Request, Response

from vapteke_shared.http import json_responses
from vapteke_shared.http.lists import cursors, query_parameters
from vapteke_shared.http.lists.cursors import CursorInvalid, Position
from vapteke_shared.http.lists.query_parameters import ListQuery

LINK: Final = '`<…>; rel="next"`: the next page; absent on the last one'
"""The description of the header in OpenAPI."""


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[asyncpg.Record]
    count: int | None
    """The number of all items that match the filters; None if the caller did not ask for it."""
    more: bool


def with_count(items: str, count: str) -> str:
    """One SQL statement for a page and the total count. It returns a row with the count even when the page is empty."""
    return f"SELECT * FROM ({count}) AS total (count) LEFT JOIN ({items}) AS item ON true"


def fold(table: str, *columns: str) -> str:
    """SQL that replaces the rows of a table of increments by one row with their sums, once there are over 100 rows."""
    named, sums = ", ".join(columns), ", ".join(f"sum({column})" for column in columns)
    folded = f"DELETE FROM {table} WHERE (SELECT count(*) FROM {table}) > 100 RETURNING {named}"
    added = f"INSERT INTO {table} ({named}) SELECT {sums} FROM folded HAVING count(*) > 0"
    return f"WITH folded AS ({folded}) {added}"


async def fetch(connection: asyncpg.Connection, query: tuple[Any, ...], limit: int, *, planned: bool) -> Page:
    """Read a page. `query` is the SQL text and its arguments, and must read one row more than the page has.

    `planned`: plan the statement each time, because no single plan suits both rare and common values.
    """
    text, *values = query
    if planned:
        rows = await (await connection.prepare(text, name="")).fetch(*values)
    else:
        rows = await connection.fetch(text, *values)
    found = [row for row in rows if row["id"] is not None]
    count = rows[0]["count"] if rows and "count" in rows[0].keys() else None  # noqa: SIM118 - a Record is not a dict
    return Page(found[:limit], count, len(found) > limit)


def position(request: Request, query: ListQuery) -> Position:
    """Where the page begins. Raises RequestValidationError for an invalid cursor."""
    if query.cursor is None:
        return Position(0)
    try:
        return cursors.decode(query.cursor, _made_for(request, query), _keys(request))
    except CursorInvalid:
        text = "This is not a cursor, or it belongs to other filters: take it from Link and keep the same filters"
        raise query_parameters.invalid_parameter("cursor", text) from None


def response(
    request: Request,
    query: ListQuery,
    page: Page,
    items: Sequence[Mapping[str, Any]],
    position: Position,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response with a page, its count and a link to the next page.

    `position` is that of this page. The link keeps its `until` and begins after the last row of the page.
    """
    body: dict[str, Any] = {"items": items} if page.count is None else {"items": items, "count": page.count}
    link = {"Link": _link(request, query, position._replace(after=page.rows[-1]["id"]))} if page.more else {}
    return json_responses.json_response(body, headers={**link, **(headers or {})})


def _link(request: Request, query: ListQuery, following: Position) -> str:
    cursor = cursors.encode(following, _made_for(request, query), _keys(request)[0])
    replaced = ("cursor", "offset", query_parameters.CACHE_BUSTER)
    given = [(name, value) for name, value in request.query_params.multi_items() if name not in replaced]
    return f'<{request.url.path}?{urlencode([*given, ("cursor", cursor)])}>; rel="next"'


def _made_for(request: Request, query: ListQuery) -> dict[str, Any]:
    return {**query.filters(), "of": request.url.path}


def _keys(request: Request) -> Sequence[bytes]:
    """The key that signs, then the keys that are still accepted."""
    return request.app.state.settings.keys or [b""]
