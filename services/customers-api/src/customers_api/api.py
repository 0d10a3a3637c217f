"""The REST door to one customer (contract, section Customers)."""

from typing import Annotated

from fastapi import APIRouter, Path
from vapteke_shared import auth
from vapteke_shared.problems import ProblemError

from customers_api import customers
from customers_api.http import INT64, NOT_FOUND, PROBLEMS, Connection
from customers_api.schemas import Customer

router = APIRouter(responses=PROBLEMS, tags=["customers"])
CustomerId = Annotated[int, Path(ge=1, le=INT64)]


@router.get(
    "/rest/v1/customers/{customer_id}/",
    summary="One customer",
    dependencies=[auth.needs("customers:read")],
    responses=NOT_FOUND,
)
async def get_customer(connection: Connection, customer_id: CustomerId) -> Customer:
    """The customer, if not deleted."""
    row = await customers.find(connection, customer_id)
    if row is None:
        raise ProblemError(404, "customer_not_found", "There is no such customer.")
    return Customer(**row)
