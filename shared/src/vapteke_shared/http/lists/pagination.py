"""Lists that are paged by id: the page, the statement that reads it, and the cursor that leads to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
from fastapi import Request, Response

from vapteke_shared.http import json_answers
from vapteke_shared.http.lists import cursors, query_parameters
from vapteke_shared.http.lists.cursors import CursorInvalid, Place
from vapteke_shared.http.lists.query_parameters import ListQuery

LINK: Final = '`<…>; rel="next"`: the next page; absent on the last one'
"""What OpenAPI says of the header."""


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[asyncpg.Record]
    count: int | None
    """Of all that meet the filters; None if it was not asked for."""
    more: bool


def counted(items: str, count: str) -> str:
    """One statement for a page and for the count of all: the count has a row even where the page has none."""
    return f"SELECT * FROM ({count}) AS total (count) LEFT JOIN ({items}) AS item ON true"


def fold(table: str, *columns: str) -> str:
    """SQL that adds up the rows of a table of changes when they are many; at any moment their sums are the same."""
    named, sums = ", ".join(columns), ", ".join(f"sum({column})" for column in columns)
    folded = f"DELETE FROM {table} WHERE (SELECT count(*) FROM {table}) > 100 RETURNING {named}"
    added = f"INSERT INTO {table} ({named}) SELECT {sums} FROM folded HAVING count(*) > 0"
    return f"WITH folded AS ({folded}) {added}"


async def fetch(connection: asyncpg.Connection, query: tuple[Any, ...], limit: int, *, planned: bool) -> Page:
    """`query` is text and arguments, and reads one row more than the page has.

    `planned`: each time anew, where no plan is good for the rare and the common alike; its statement has no name.
    """
    text, *values = query
    if planned:
        rows = await (await connection.prepare(text, name="")).fetch(*values)
    else:
        rows = await connection.fetch(text, *values)
    found = [row for row in rows if row["id"] is not None]
    count = rows[0]["count"] if rows and "count" in rows[0].keys() else None  # noqa: SIM118 - a Record is no dict
    return Page(found[:limit], count, len(found) > limit)


def place(request: Request, query: ListQuery) -> Place:
    """Where the list goes on; raises RequestValidationError for a cursor that is none of ours."""
    if query.cursor is None:
        return Place(0)
    try:
        return cursors.decode(query.cursor, _made_for(request, query), _keys(request))
    except CursorInvalid:
        text = "This is no cursor, or it was made for other filters: take it from Link, and keep its filters"
        raise query_parameters.refusal("cursor", text) from None


def answer(
    request: Request,
    query: ListQuery,
    page: Page,
    items: Sequence[Mapping[str, Any]],
    here: Place,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The page as it is shown, with its count and the link to the next one; `here` is where it began."""
    body: dict[str, Any] = {"items": items} if page.count is None else {"items": items, "count": page.count}
    link = {"Link": _link(request, query, here._replace(after=page.rows[-1]["id"]))} if page.more else {}
    return json_answers.json_response(body, headers={**link, **(headers or {})})


def _link(request: Request, query: ListQuery, following: Place) -> str:
    cursor = cursors.encode(following, _made_for(request, query), _keys(request)[0])
    replaced = ("cursor", "offset", query_parameters.CACHE_BUSTER)
    given = [(name, value) for name, value in request.query_params.multi_items() if name not in replaced]
    return f'<{request.url.path}?{urlencode([*given, ("cursor", cursor)])}>; rel="next"'


def _made_for(request: Request, query: ListQuery) -> dict[str, Any]:
    return {**query.filters(), "of": request.url.path}


def _keys(request: Request) -> Sequence[bytes]:
    """The one that signs first; those after it are still accepted."""
    return request.app.state.settings.keys or [b""]
