"""One customer: every read and write of it. The living are those that are not deleted."""

import asyncpg
from sqlalchemy import bindparam
from sqlmodel import col, select

from customers_api.database import Statement
from customers_api.models import Customer, Firstname, Phone

_living = col(Customer.deleted_at).is_(None)

_ONE = Statement(
    select(  # type: ignore[call-overload,misc,unused-ignore]
        Customer.id,
        col(Phone.digits).label("phone"),
        col(Firstname.name).label("firstname"),
        Customer.lastname,
        Customer.email,
        Customer.birthday,
        Customer.gender,
        Customer.city_id,
        Customer.last_auth_at,
    )
    .join(Phone, col(Phone.id) == Customer.phone_id, isouter=True)
    .join(Firstname, col(Firstname.id) == Customer.firstname_id, isouter=True)
    .where(Customer.id == bindparam("id"), _living)
)


async def find(connection: asyncpg.Connection, customer_id: int) -> asyncpg.Record | None:
    """The customer, unless deleted."""
    return await connection.fetchrow(*_ONE(id=customer_id))
