"""Reads customers: one by its id, pages with filters and counts, many by ids or phones."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import asyncpg
from sqlalchemy import bindparam, text
from sqlmodel import col, select
from vapteke_shared.http.lists import pagination
from vapteke_shared.http.lists.pagination import Page
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.statements import Statement

from customers_api.customers.tables import COLUMNS, CustomerRow, FirstnameRow, PhoneRow

Row = Mapping[str, Any]
BACKDATED: Final = timedelta(seconds=0.5)
"""The `updated_at` of a new customer may be this much earlier than the beginning of the transaction that creates it."""
_OVERLAP: Final = BACKDATED + timedelta(seconds=0.5)
"""Half a second more: a transaction that has begun appears in pg_stat_activity in less time than that."""


class CustomerNotFound(ProblemError):
    def __init__(self) -> None:
        super().__init__(404, "customer_not_found", "There is no such customer.")


async def get(connection: asyncpg.Connection, customer_id: int) -> Row:
    """The active customer with this id: the fields of the response model `Customer`, and `version`.

    Raises CustomerNotFound if there is no such customer, or if it is deleted.
    """
    customer = await connection.fetchrow(*_ONE(id=customer_id))
    if customer is None:
        raise CustomerNotFound
    return customer  # type: ignore[no-any-return]


async def page(
    connection: asyncpg.Connection,
    filters: Mapping[str, Any],
    limit: int,
    *,
    after: int = 0,
    offset: int = 0,
    counted: bool = True,
) -> Page:
    """One page of the customers that match all filters, ordered by id.

    The page has at most `limit` customers with ids above `after`, and leaves out the first `offset` of them. `filters`
    are those of `CustomerQuery`; deleted customers are left out unless the key `include_deleted` is present. The same
    statement counts the matches on all pages; if `counted` is false, the page's `count` is None.
    """
    query = _page(frozenset(filters), limit + 1, offset > 0, counted)(**filters, after=after, offset=offset)
    return await pagination.fetch(connection, query, limit, planned=bool(filters))


async def seen_until(connection: asyncpg.Connection) -> datetime:
    """An instant for `updated_since`: a later request with it finds every change that the coming read misses.

    Call this just before the read of the customers. The read misses only changes of transactions that are open now or
    begin later. Their `updated_at` is at most BACKDATED earlier than the transaction's beginning. So the instant is the
    beginning of the oldest open transaction minus `_OVERLAP`: BACKDATED, and the time until a new transaction is shown.
    """
    oldest: datetime = await connection.fetchval(_OLDEST)
    return oldest - _OVERLAP


async def find_by_ids(connection: asyncpg.Connection, ids: Sequence[int]) -> Sequence[asyncpg.Record]:
    """The active customers with these ids, ordered by id, with the fields of the response model `Customer`.

    Ids of no active customer are ignored. Give each id once: a repeated id returns its customer again.
    """
    return await connection.fetch(_BY_IDS, ids)  # type: ignore[no-any-return]


async def find_by_phones(connection: asyncpg.Connection, phones: Sequence[str]) -> Sequence[asyncpg.Record]:
    """The active customers with these phones (digits), ordered by id, with the fields of the response model `Customer`.

    Phones of no active customer are ignored. Give each phone once: a repeated phone returns its customer again.
    """
    return await connection.fetch(_BY_PHONES, phones)  # type: ignore[no-any-return]


async def fold_counts(connection: asyncpg.Connection) -> None:
    """Replace the rows of customer_counts by one with the same sums, if there are more than 100.

    Call this regularly: each change of the counts adds a row, and a list that is counted without filters reads them
    all.
    """
    await connection.execute(_FOLD_COUNTS)


_FOLD_COUNTS = pagination.fold("customer_counts", "living", "deleted")

_OLDEST = "SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database()"


def _begins(column: str, name: str) -> str:
    """SQL: whether the column begins with the value of the parameter called `name`, ignoring upper and lower case.

    LIKE would take `%` and `_` in the parameter as wildcards.
    """
    prefix = f"folded(:{name})"
    return f"folded({column}) ~>=~ {prefix} AND folded({column}) ~<~ ({prefix} || chr({0x10FFFF}))"


_CONDITIONS: Final = {name: f"c.{name} = :{name}" for name in COLUMNS} | {
    "phone": "c.phone_id = (SELECT id FROM phones WHERE digits = :phone)",
    "email": "folded(c.email) = folded(:email)",
    "firstname": f"c.firstname_id = ANY (ARRAY(SELECT id FROM firstnames WHERE {_begins('name', 'firstname')}))",
    "lastname": _begins("c.lastname", "lastname"),
    "birthday_from": "c.birthday >= :birthday_from",
    "birthday_to": "c.birthday <= :birthday_to",
    "updated_since": "c.updated_at >= :updated_since",
}

# OFFSET 0 makes Postgres look up each row by its index. Otherwise it reads a whole table to join a thousand rows.
_BY_ID = "SELECT * FROM customers WHERE id = asked.id OFFSET 0"
_ROWS = """
JOIN LATERAL (SELECT * FROM customers WHERE id = page.id OFFSET 0) AS c ON true
LEFT JOIN LATERAL (SELECT * FROM phones WHERE id = c.phone_id OFFSET 0) AS p ON true
LEFT JOIN LATERAL (SELECT * FROM firstnames WHERE id = c.firstname_id OFFSET 0) AS f ON true
"""
_ONE = Statement(
    select(  # type: ignore[call-overload,misc,unused-ignore]
        CustomerRow.id,
        col(PhoneRow.digits).label("phone"),
        col(FirstnameRow.name).label("firstname"),
        *(getattr(CustomerRow, name) for name in COLUMNS),
        CustomerRow.version,
    )
    .join(PhoneRow, col(PhoneRow.id) == CustomerRow.phone_id, isouter=True)
    .join(FirstnameRow, col(FirstnameRow.id) == CustomerRow.firstname_id, isouter=True)
    .where(CustomerRow.id == bindparam("id"), col(CustomerRow.deleted_at).is_(None))
)


_ITEM = """
SELECT
    c.id, c.phone_id, p.code, p.number, f.name AS firstname, c.lastname, c.email, c.birthday, c.updated_at, c.deleted_at
"""


@lru_cache(512)
def _page(filters: frozenset[str], limit: int, offset: bool, counted: bool) -> Statement:
    """The statement that reads one page of customers, and the total count if `counted`.

    `filters` are names only; their values, `after` and the offset are parameters of the statement. The limit is a
    literal, because Postgres assumes a tenth of the table for a limit that is a parameter. The CTE `page` is
    MATERIALIZED, because joins to it have misled Postgres 16 into reading the whole table.
    """
    matching, count, parts = _matching(filters), _count(filters), []
    if "updated_since" in filters:  # read by its own index: customers changed recently may have the highest ids
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
    """SQL for the ids of the customers that match the filters. Without `include_deleted` they must be active.

    The SQL ends with its WHERE clause, so the caller can append `AND` and further conditions on `c`.
    """
    source = "customers c"
    if "id" in filters:
        source = f"unnest(CAST(:id AS bigint[])) AS asked (id) CROSS JOIN LATERAL ({_BY_ID}) AS c"
    conditions = [condition for name, condition in _CONDITIONS.items() if name in filters]
    if "include_deleted" not in filters:
        conditions.append("c.deleted_at IS NULL")
    elif "phone" in filters:  # active and deleted customers have an index each
        conditions.append("(c.deleted_at IS NULL OR c.deleted_at IS NOT NULL)")
    return f"SELECT c.id FROM {source} WHERE {' AND '.join(conditions or ['true'])}"


_CUSTOMER = f"SELECT c.id, p.digits AS phone, f.name AS firstname, {', '.join(f'c.{name}' for name in COLUMNS)}"

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
