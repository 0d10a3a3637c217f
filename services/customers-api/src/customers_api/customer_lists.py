"""Lists of customers: pages, filters and counts. The living are those that are not deleted."""

from collections.abc import Sequence

import asyncpg
from sqlalchemy import bindparam, func
from sqlmodel import col, select

from customers_api.database import Statement
from customers_api.models import Customer, Firstname, Phone

_living = col(Customer.deleted_at).is_(None)

# The ids of the page come from a narrow index, only then are the rows joined.
_page = (
    select(Customer.id).where(_living).order_by(col(Customer.id)).limit(bindparam("limit")).offset(bindparam("offset"))
).subquery()

_PAGE = Statement(
    select(  # type: ignore[call-overload,misc,unused-ignore]
        Customer.id,
        col(Phone.id).label("phone_id"),
        Phone.code,
        Phone.number,
        col(Firstname.name).label("firstname"),
        Customer.lastname,
        Customer.email,
        Customer.birthday,
    )
    .join(_page, _page.c.id == Customer.id)
    .join(Phone, col(Phone.id) == Customer.phone_id, isouter=True)
    .join(Firstname, col(Firstname.id) == Customer.firstname_id, isouter=True)
    .order_by(col(Customer.id))
)

_COUNT = Statement(select(func.count()).select_from(Customer).where(_living))


async def page(connection: asyncpg.Connection, limit: int, offset: int) -> tuple[Sequence[asyncpg.Record], int]:
    """A page in the order of ids, and how many there are in all."""
    rows = await connection.fetch(*_PAGE(limit=limit, offset=offset))
    return rows, await connection.fetchval(*_COUNT())
