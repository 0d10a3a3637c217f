"""Reads and writes favorites. The favorites of a deleted customer are hidden: no statement here shows or changes them.

The statements look into the table `deleted_customers`, so the deletion of a customer changes no favorites.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from vapteke_shared.http.lists import pagination
from vapteke_shared.http.lists.pagination import Page
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import retry_conflicts
from vapteke_shared.postgres.statements import Statement


class CustomerIsDeleted(ProblemError):
    def __init__(self) -> None:
        super().__init__(404, "customer_not_found", "The customer is deleted.")


@retry_conflicts
async def add(connection: asyncpg.Connection, user_id: int, item_ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """Add all items or none. Returns one row per item, ordered by item; `created` is true for new favorites.

    An item that is given twice has one row. If another request adds one of the items at the same time, the statement
    fails and is retried, and then finds that favorite. An unknown customer is accepted. Raises CustomerIsDeleted.
    """
    rows = await connection.fetch(_ADD, user_id, sorted(set(item_ids)))
    if any(row["hidden"] for row in rows):
        raise CustomerIsDeleted
    return rows  # type: ignore[no-any-return]


@retry_conflicts
async def delete(connection: asyncpg.Connection, ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """Delete the favorites with these ids, except hidden ones. Returns the `id` and `user_id` of each deleted one."""
    return await connection.fetch(_DELETE, ids)  # type: ignore[no-any-return]


async def find_items(connection: asyncpg.Connection, user_id: int, item_ids: Sequence[int]) -> set[int]:
    """Those of `item_ids` that are favorites of the customer. A deleted customer has none."""
    return {row["item_id"] for row in await connection.fetch(_FIND_ITEMS, user_id, item_ids)}


async def page(
    connection: asyncpg.Connection,
    filters: Mapping[str, Any],
    limit: int,
    *,
    after: int = 0,
    offset: int = 0,
    counted: bool = True,
) -> Page:
    """One page of the favorites that match all filters and are not hidden, ordered by id.

    The page has at most `limit` favorites with ids above `after`, and leaves out the first `offset` of them. `filters`
    are those of `FavoriteQuery`. The same statement counts the matches on all pages; if `counted` is false, the page's
    `count` is None.
    """
    query = _query(filters, limit + 1, after, offset, counted)
    return await pagination.fetch(connection, query, limit, planned=bool(filters))


async def fold_counts(connection: asyncpg.Connection) -> None:
    """Replace the rows of favorite_counts by one with the same sum, if there are more than 100.

    Call this regularly: each change of the number adds a row, and a list that is counted without filters reads them
    all.
    """
    await connection.execute(_FOLD_COUNTS)


_HIDDEN: Final = "EXISTS (SELECT FROM deleted_customers d WHERE d.customer_id = {} AND d.deleted_at IS NOT NULL)"

# Without ON CONFLICT, which uses up an id for every existing favorite and does not show which rows are new.
_ADD = f"""
WITH requested AS (SELECT item_id, {_HIDDEN.format("$1")} AS hidden FROM unnest($2::bigint[]) AS given (item_id)),
existing AS (SELECT id, item_id, created_at FROM favorites WHERE user_id = $1 AND item_id = ANY($2)),
added AS (
    INSERT INTO favorites (user_id, item_id)
    SELECT $1, item_id FROM requested
    WHERE NOT hidden AND item_id NOT IN (SELECT item_id FROM existing)
    ORDER BY item_id
    RETURNING id, item_id, created_at
)
SELECT found.id, $1 AS user_id, requested.item_id, found.created_at, found.created, requested.hidden
FROM requested
LEFT JOIN (SELECT *, false AS created FROM existing UNION ALL SELECT *, true FROM added) AS found USING (item_id)
ORDER BY requested.item_id
"""

_DELETE = f"""
WITH doomed AS (
    SELECT id FROM favorites f WHERE id = ANY($1) AND NOT {_HIDDEN.format("f.user_id")} ORDER BY id FOR UPDATE
)
DELETE FROM favorites WHERE id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING id, user_id
"""

_FIND_ITEMS = f"SELECT item_id FROM favorites WHERE user_id = $1 AND item_id = ANY($2) AND NOT {_HIDDEN.format('$1')}"

_FOLD_COUNTS = pagination.fold("favorite_counts", "favorites")

# Responses show instants in milliseconds.
_MILLISECOND = "interval '1 millisecond'"
_CONDITIONS: Final = {
    "id": "f.id = ANY (CAST(:id AS bigint[]))",
    "user_id": "f.user_id = ANY (CAST(:user_id AS bigint[]))",
    "item_id": "f.item_id = ANY (CAST(:item_id AS bigint[]))",
    "created_at": f"f.created_at >= :created_at AND f.created_at < CAST(:created_at AS timestamptz) + {_MILLISECOND}",
    "created_at_from": "f.created_at >= :created_at_from",
    "created_at_to": f"f.created_at < CAST(:created_at_to AS timestamptz) + {_MILLISECOND}",
}

_COUNT_ALL = """
SELECT (SELECT coalesce(sum(favorites), 0)::bigint FROM favorite_counts) - coalesce(sum(theirs.favorites), 0)::bigint
FROM deleted_customers d
CROSS JOIN LATERAL (SELECT count(*) AS favorites FROM favorites f WHERE f.user_id = d.customer_id OFFSET 0) AS theirs
WHERE d.deleted_at IS NOT NULL
"""

# The index holds each item's favorites in the order of ids, so the first ones of each item are enough for a page.
_BY_ITEM = f"""
SELECT f.* FROM unnest(CAST(:item_id AS bigint[])) AS asked (item_id)
CROSS JOIN LATERAL (
    SELECT * FROM favorites f
    WHERE f.item_id = asked.item_id AND NOT {_HIDDEN.format("f.user_id")} AND f.id > :after
    ORDER BY f.id LIMIT {{limit}}
) AS f
ORDER BY f.id LIMIT {{limit}}
"""
_FEW_ITEMS: Final = 20
"""For more items than this, _BY_ITEM is not used, because it reads a whole page for each item."""


def _query(filters: Mapping[str, Any], limit: int, after: int, offset: int, counted: bool) -> tuple[Any, ...]:
    by_item = filters.keys() == {"item_id"} and len(filters["item_id"]) <= _FEW_ITEMS and not offset
    return _page(frozenset(filters), limit, by_item, counted)(**filters, after=after, offset=offset)


@lru_cache(512)
def _page(filters: frozenset[str], limit: int, by_item: bool, counted: bool) -> Statement:
    """The statement that reads one page of favorites, with the total count if `counted`.

    `filters` are names only; their values, `after` and `offset` are parameters of the statement. Set `by_item` only if
    `item_id` is the only filter and the offset is 0: the page is then read by the index of items. With a filter, the
    limit is hidden from the planner. If the planner knew the limit, it would scan the table by id, expecting to find
    enough matches soon, and read everything when the matches come last. Without a filter the limit is a literal,
    because the planner assumes that an unknown limit is a tenth of the table.
    """
    conditions = [condition for name, condition in _CONDITIONS.items() if name in filters]
    matching = " AND ".join([*conditions, f"NOT {_HIDDEN.format('f.user_id')}"])
    rows = f"(SELECT {limit})" if filters else limit
    items = f"SELECT f.* FROM favorites f WHERE {matching} AND f.id > :after ORDER BY f.id LIMIT {rows} OFFSET :offset"
    if by_item:
        items = _BY_ITEM.format(limit=limit)
    if counted:
        count = f"SELECT count(*) FROM favorites f WHERE {matching}" if filters else _COUNT_ALL
        items = f"{pagination.with_count(items, count)} ORDER BY id"
    return Statement(text(items))
