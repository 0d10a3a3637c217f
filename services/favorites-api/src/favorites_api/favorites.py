"""Favorites, as the REST door reads and writes them. No call shows or changes those of a deleted customer.

What is hidden follows from `deleted_customers` at each reading, so no write has to wait for a customer's deletion.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from vapteke_shared.http.lists import pagination
from vapteke_shared.http.lists.pagination import Page
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.database import Statement, tried_again


class CustomerGone(ProblemError):
    def __init__(self) -> None:
        super().__init__(404, "customer_not_found", "The customer is deleted.")


@tried_again
async def add(connection: asyncpg.Connection, user_id: int, item_ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """The favorites of these items, each once, in the order of the items; `created` tells which are new.

    All or none: what another adds at the same time undoes the statement, and is found by the next try. A user never
    heard of is accepted. Raises CustomerGone.
    """
    rows = await connection.fetch(_ADD, user_id, sorted(set(item_ids)))
    if any(row["hidden"] for row in rows):
        raise CustomerGone
    return rows  # type: ignore[no-any-return]


@tried_again
async def delete(connection: asyncpg.Connection, ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """Those that were there and are not hidden."""
    return await connection.fetch(_DELETE, ids)  # type: ignore[no-any-return]


async def held(connection: asyncpg.Connection, user_id: int, item_ids: Sequence[int]) -> set[int]:
    """Which of these items the user has."""
    return {row["item_id"] for row in await connection.fetch(_HELD, user_id, item_ids)}


async def page(
    connection: asyncpg.Connection,
    filters: Mapping[str, Any],
    limit: int,
    *,
    after: int = 0,
    offset: int = 0,
    counted: bool = True,
) -> Page:
    """The favorites behind the id `after` that meet all the filters, in the order of ids: one statement, one truth."""
    query = _query(filters, limit + 1, after, offset, counted)
    return await pagination.fetch(connection, query, limit, planned=bool(filters))


async def fold_counts(connection: asyncpg.Connection) -> None:
    """Add up the rows of favorite_counts when they are many; at any moment their sum is the same."""
    await connection.execute(_FOLD_COUNTS)


_HIDDEN: Final = "EXISTS (SELECT FROM deleted_customers d WHERE d.customer_id = {} AND d.deleted_at IS NOT NULL)"

# No ON CONFLICT: it burns an id for each that is there, and hides from whom a new one came.
_ADD = f"""
WITH asked AS (SELECT item_id, {_HIDDEN.format("$1")} AS hidden FROM unnest($2::bigint[]) AS given (item_id)),
known AS (SELECT id, item_id, created_at FROM favorites WHERE user_id = $1 AND item_id = ANY($2)),
made AS (
    INSERT INTO favorites (user_id, item_id)
    SELECT $1, item_id FROM asked WHERE NOT hidden AND item_id NOT IN (SELECT item_id FROM known) ORDER BY item_id
    RETURNING id, item_id, created_at
)
SELECT found.id, $1 AS user_id, asked.item_id, found.created_at, found.created, asked.hidden
FROM asked
LEFT JOIN (SELECT *, false AS created FROM known UNION ALL SELECT *, true FROM made) AS found USING (item_id)
ORDER BY asked.item_id
"""

_DELETE = f"""
WITH doomed AS (
    SELECT id FROM favorites f WHERE id = ANY($1) AND NOT {_HIDDEN.format("f.user_id")} ORDER BY id FOR UPDATE
)
DELETE FROM favorites WHERE id = ANY (ARRAY(SELECT id FROM doomed)) RETURNING id, user_id
"""

_HELD = f"SELECT item_id FROM favorites WHERE user_id = $1 AND item_id = ANY($2) AND NOT {_HIDDEN.format('$1')}"

_FOLD_COUNTS = pagination.fold("favorite_counts", "favorites")

# To the millisecond, as instants are shown.
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

# Each item's favorites lie in the index in the order of ids: of a popular one, its first are enough for a page.
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
"""A page of each is read: of a thousand items that were a million rows."""


def _query(filters: Mapping[str, Any], limit: int, after: int, offset: int, counted: bool) -> tuple[Any, ...]:
    by_item = filters.keys() == {"item_id"} and len(filters["item_id"]) <= _FEW_ITEMS and not offset
    return _page(frozenset(filters), limit, by_item, counted)(**filters, after=after, offset=offset)


@lru_cache(512)
def _page(filters: frozenset[str], limit: int, by_item: bool, counted: bool) -> Statement:
    """With a filter, Postgres must not know the limit: it would hope to find so few soon, and go by the ids through
    the whole table to those that match and lie last. Without one it must: it takes an unknown limit for a tenth.
    """
    conditions = [condition for name, condition in _CONDITIONS.items() if name in filters]
    matching = " AND ".join([*conditions, f"NOT {_HIDDEN.format('f.user_id')}"])
    rows = f"(SELECT {limit})" if filters else limit
    items = f"SELECT f.* FROM favorites f WHERE {matching} AND f.id > :after ORDER BY f.id LIMIT {rows} OFFSET :offset"
    if by_item:
        items = _BY_ITEM.format(limit=limit)
    if counted:
        count = f"SELECT count(*) FROM favorites f WHERE {matching}" if filters else _COUNT_ALL
        items = f"{pagination.counted(items, count)} ORDER BY id"
    return Statement(text(items))
