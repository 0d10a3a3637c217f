"""Many customers: pages, filters, counts, and looking up many at once. The living are those that are not deleted."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from vapteke_shared.http.lists import pagination
from vapteke_shared.http.lists.pagination import Page
from vapteke_shared.postgres.statements import Statement

_OVERLAP: Final = timedelta(seconds=1)
"""Generous: what may pass between a transaction's beginning and its showing in pg_stat_activity."""


async def page(
    connection: asyncpg.Connection,
    filters: Mapping[str, Any],
    limit: int,
    *,
    after: int = 0,
    offset: int = 0,
    counted: bool = True,
) -> Page:
    """The customers behind the id `after` that meet all the filters, in the order of ids: one statement, one truth."""
    query = _page(frozenset(filters), limit + 1, offset > 0, counted)(**filters, after=after, offset=offset)
    return await pagination.fetch(connection, query, limit, planned=bool(filters))


async def seen_until(connection: asyncpg.Connection) -> datetime:
    """What cannot be seen yet when the next statement begins will have this `updated_at`, or a later one.

    `updated_at` is never before its transaction's beginning, so the oldest transaction that is open now is the bound.
    """
    oldest: datetime = await connection.fetchval(_OLDEST)
    return oldest - _OVERLAP


async def find_by_ids(connection: asyncpg.Connection, ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """The living among them, in the order of ids."""
    return await connection.fetch(_BY_IDS, ids)  # type: ignore[no-any-return]


async def find_by_phones(connection: asyncpg.Connection, phones: Sequence[str]) -> Sequence[asyncpg.Record]:
    """The living who have one of these phones (digits), in the order of ids."""
    return await connection.fetch(_BY_PHONES, phones)  # type: ignore[no-any-return]


async def fold_counts(connection: asyncpg.Connection) -> None:
    """Add up the rows of customer_counts when they are many; at any moment their sum is the same."""
    await connection.execute(_FOLD_COUNTS)


_FOLD_COUNTS = pagination.fold("customer_counts", "living", "deleted")

_OLDEST = "SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database()"


def _begins(column: str, name: str) -> str:
    """No LIKE, so that its wildcards are letters here."""
    prefix = f"folded(:{name})"
    return f"folded({column}) ~>=~ {prefix} AND folded({column}) ~<~ ({prefix} || chr({0x10FFFF}))"


_CONDITIONS: Final = {
    "phone": "c.phone_id = (SELECT id FROM phones WHERE digits = :phone)",
    "email": "folded(c.email) = folded(:email)",
    "firstname": f"c.firstname_id = ANY (ARRAY(SELECT id FROM firstnames WHERE {_begins('name', 'firstname')}))",
    "lastname": _begins("c.lastname", "lastname"),
    "city_id": "c.city_id = :city_id",
    "gender": "c.gender = :gender",
    "birthday_from": "c.birthday >= :birthday_from",
    "birthday_to": "c.birthday <= :birthday_to",
    "updated_since": "c.updated_at >= :updated_since",
}

# OFFSET 0 has Postgres look up each row by its index. It would read a whole table for a thousand of its rows.
_BY_ID = "SELECT * FROM customers WHERE id = asked.id OFFSET 0"
_ROWS = """
JOIN LATERAL (SELECT * FROM customers WHERE id = page.id OFFSET 0) AS c ON true
LEFT JOIN LATERAL (SELECT * FROM phones WHERE id = c.phone_id OFFSET 0) AS p ON true
LEFT JOIN LATERAL (SELECT * FROM firstnames WHERE id = c.firstname_id OFFSET 0) AS f ON true
"""
_ITEM = """
SELECT
    c.id, c.phone_id, p.code, p.number, f.name AS firstname, c.lastname, c.email, c.birthday, c.updated_at, c.deleted_at
"""


@lru_cache(512)
def _page(filters: frozenset[str], limit: int, offset: bool, counted: bool) -> Statement:
    """The limit stands in the text: Postgres takes an unknown one for a tenth of the table. The page is planned by
    itself: what is joined to it has misled Postgres 16 into reading the table."""
    matching, count, parts = _matching(filters), _count(filters), []
    if "updated_since" in filters:  # by its own index, and once: those changed last may be the last of all ids
        parts = [f"changed AS MATERIALIZED ({matching})"]
        matching, count = "SELECT id FROM changed AS c WHERE true", "SELECT count(*) FROM changed"
    skip = "OFFSET :offset" if offset else ""
    parts.append(f"page AS MATERIALIZED ({matching} AND c.id > :after ORDER BY c.id LIMIT {limit} {skip})")
    items = f"{_ITEM} FROM page {_ROWS}"
    if counted:
        items = pagination.with_count(items, count)
    return Statement(text(f"WITH {', '.join(parts)} {items} ORDER BY id"))


def _count(filters: AbstractSet[str]) -> str:
    if not filters:
        return "SELECT coalesce(sum(living), 0)::bigint FROM customer_counts"
    if filters == {"include_deleted"}:
        return "SELECT coalesce(sum(living + deleted), 0)::bigint FROM customer_counts"
    return f"SELECT count(*) FROM ({_matching(filters)}) AS matching"


def _matching(filters: AbstractSet[str]) -> str:
    """The ids of those who meet the filters."""
    source = "customers c"
    if "id" in filters:
        source = f"unnest(CAST(:id AS bigint[])) AS asked (id) CROSS JOIN LATERAL ({_BY_ID}) AS c"
    conditions = [condition for name, condition in _CONDITIONS.items() if name in filters]
    if "include_deleted" not in filters:
        conditions.append("c.deleted_at IS NULL")
    elif "phone" in filters:  # of all, but each half has an index of its own
        conditions.append("(c.deleted_at IS NULL OR c.deleted_at IS NOT NULL)")
    return f"SELECT c.id FROM {source} WHERE {' AND '.join(conditions or ['true'])}"


_CUSTOMER = """
SELECT
    c.id, p.digits AS phone, f.name AS firstname, c.lastname, c.email, c.birthday, c.gender, c.city_id, c.last_auth_at
"""

_BY_IDS = f"""
{_CUSTOMER} FROM unnest($1::bigint[]) AS page (id) {_ROWS} WHERE c.deleted_at IS NULL ORDER BY c.id
"""

_BY_PHONES = f"""
{_CUSTOMER} FROM unnest($1::text[]) AS asked (digits)
CROSS JOIN LATERAL (SELECT * FROM phones WHERE digits = asked.digits OFFSET 0) AS p
CROSS JOIN LATERAL (SELECT * FROM customers WHERE phone_id = p.id AND deleted_at IS NULL OFFSET 0) AS c
LEFT JOIN LATERAL (SELECT * FROM firstnames WHERE id = c.firstname_id OFFSET 0) AS f ON true
ORDER BY c.id
"""
