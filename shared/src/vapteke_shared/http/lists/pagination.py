"""Pages of lists that are ordered by id: reads a page, and makes the response with a link to the next page."""

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
    """One SQL statement for a page and the total count, from the SQL of the page (`items`) and of the count (`count`).

    `count` must give one row with one column. Every row of the result has it as `count`. When the page is empty, the
    statement returns one row with the count and nulls; `fetch` drops this row.
    """
    return f"SELECT * FROM ({count}) AS total (count) LEFT JOIN ({items}) AS item ON true"


def fold(table: str, *columns: str) -> str:
    """SQL that replaces all rows of a table by one row with the sums of `columns`, if the table has over 100 rows.

    The rows of such a table are increments, so the totals stay the same. `columns` must be all its columns.
    """
    named, sums = ", ".join(columns), ", ".join(f"sum({column})" for column in columns)
    folded = f"DELETE FROM {table} WHERE (SELECT count(*) FROM {table}) > 100 RETURNING {named}"
    added = f"INSERT INTO {table} ({named}) SELECT {sums} FROM folded HAVING count(*) > 0"
    return f"WITH folded AS ({folded}) {added}"


async def fetch(connection: asyncpg.Connection, query: tuple[Any, ...], limit: int, *, planned: bool) -> Page:
    """Read a page of at most `limit` rows. `query` is the SQL text and its arguments.

    The SQL must return the column `id`, and up to `limit` + 1 rows, which shows whether there is a next page. The
    page's count is None unless the SQL is `with_count`. With `planned`, Postgres plans the statement each time, because
    no single plan suits both rare and common values.
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
    """Where the requested page begins: the position in the query's cursor, or the start of the list without a cursor.

    At the start of the list `until` is 1970; an endpoint with changes to follow replaces it. Raises
    RequestValidationError (422) for an invalid cursor.
    """
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
    """The response with `items`, the count if `page` has one, and a link to the next page if there is one.

    `items` are the rows of `page` as JSON, and `position` is where this page begins. The next page begins after the
    last row of this page, and has the same `until`.
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
    """The keys for cursors: the first one signs, and all are accepted. Without SECRET_KEY there is one empty key."""
    return request.app.state.settings.keys or [b""]
