"""The REST door to many customers at once (contract, section Customers)."""

import asyncpg
from fastapi import APIRouter
from vapteke_shared import auth

from customers_api import customer_lists
from customers_api.http import PROBLEMS, Connection, Limit, Offset
from customers_api.schemas import CustomerItem, CustomerList, PhoneItem

router = APIRouter(responses=PROBLEMS, tags=["customers"])


@router.get("/rest/v1/customers/", summary="List customers", dependencies=[auth.needs("customers:read")])
async def list_customers(connection: Connection, limit: Limit = 50, offset: Offset = 0) -> CustomerList:
    """Customers that are not deleted, in the order of their ids."""
    rows, count = await customer_lists.page(connection, limit, offset)
    return CustomerList(items=[_item(row) for row in rows], count=count)


def _item(row: asyncpg.Record) -> CustomerItem:
    phone = PhoneItem(id=row["phone_id"], code=row["code"], number=row["number"]) if row["phone_id"] else None
    return CustomerItem(**{**row, "phone": phone})
