"""The endpoints of many customers: the list and the lookup (docs/contract.md, "Customers")."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import asyncpg
from fastapi import Body, Request, Response
from pydantic import Discriminator, Tag
from vapteke_shared.contract import phones
from vapteke_shared.http import application, json_responses, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import pagination, query_parameters

from customers_api.customers import queries, response_models
from customers_api.customers.list_parameters import CustomerQuery
from customers_api.customers.request_models import LookupByIds, LookupByPhones
from customers_api.customers.response_models import CustomerList, CustomersFound

router = application.router("customers")

_PATH = "/rest/v1/customers/"
_READ = [auth.require_scope("customers:read")]
_SHOWN_INSTANTS = {"updated_since": "updated_at", "include_deleted": "deleted_at"}


@router.get(
    _PATH,
    summary="List customers",
    dependencies=_READ,
    responses={
        200: {
            "model": CustomerList,
            "description": "The page",
            "headers": openapi.headers(
                Link=pagination.LINK,
                Updated_Until="with `include_deleted` or `updated_since`: the `updated_since` of the next request "
                "once this list has been read",
            ),
        }
    },
    openapi_extra=query_parameters.parameters(CustomerQuery),
)
async def list_customers(request: Request) -> Response:
    """Active customers, ordered by id; `count` is exact.

    Follow `Link` to read them all: every page costs the same. A large `offset` costs more with every page.

    To follow changes, read the whole list once with `include_deleted=true`. Then repeat the request with
    `updated_since` set to the `Updated-Until` of the previous time. No change is lost; a recent one may come twice.
    """
    query = query_parameters.read(request, CustomerQuery)
    filters, position = query.filters(), pagination.position(request, query)
    followed = not filters.keys().isdisjoint(("updated_since", "include_deleted"))
    async with application.connection(request) as connection:
        if followed and query.cursor is None:
            position = position._replace(until=await queries.seen_until(connection))
        page = await queries.page(
            connection, filters, query.limit, after=position.after, offset=query.offset, counted=query.count
        )
    data_access.record(request, "customers.list", _requested_and_found(query.id or (), page.rows))
    headers = {"Updated-Until": json_responses.instant(position.until)} if followed else {}
    shown = [name for parameter, name in _SHOWN_INSTANTS.items() if parameter in filters]
    return pagination.response(request, query, page, [_item(row, shown) for row in page.rows], position, headers)


def _item(row: asyncpg.Record, instants: Sequence[str]) -> dict[str, Any]:
    phone_id = row["phone_id"]
    item = {
        "id": row["id"],
        "phone": {"id": phone_id, "code": row["code"], "number": row["number"]} if phone_id else None,
        "firstname": row["firstname"],
        "lastname": row["lastname"],
        "email": row["email"],
        "birthday": row["birthday"],
    }
    for name in instants:
        item[name] = json_responses.instant(row[name])
    return item


def _kind(body: Any) -> str | None:
    """The tag of the request model that validates the body of a lookup.

    None: the body has both `phones` and `ids`, or neither, or is not an object. Then it is rejected.
    """
    fields = body if isinstance(body, dict) else {}
    if ("phones" in fields) == ("ids" in fields):
        return None
    return "(phones)" if "phones" in fields else "(ids)"


Lookup = Annotated[
    Annotated[LookupByPhones, Tag("(phones)")] | Annotated[LookupByIds, Tag("(ids)")],
    Discriminator(_kind, custom_error_type="phones_or_ids", custom_error_message="Send either phones or ids"),
    Body(description="up to 1,000 phones, or as many ids"),
]


@router.post(
    _PATH + "lookup/",
    summary="Look up customers by phones or ids",
    dependencies=_READ,
    responses={200: {"model": CustomersFound, "description": "The customers that were found"}},
)
async def look_up_customers(request: Request, body: Lookup) -> Response:
    """Finds active customers only. The phones are sent in the body, because URLs end up in logs."""
    requested: dict[Any, Any]  # the phone or id as it was sent → the digits or id to find
    async with application.connection(request) as connection:
        if isinstance(body, LookupByPhones):
            requested = {given: phones.parse(given).digits for given in body.phones}
            rows = await queries.find_by_phones(connection, list(set(requested.values())))
            found = {row["phone"] for row in rows}
        else:
            requested = {customer_id: customer_id for customer_id in body.ids}
            rows = await queries.find_by_ids(connection, list(requested))
            found = {row["id"] for row in rows}
    data_access.record(request, "customers.lookup", _requested_and_found(getattr(body, "ids", ()), rows))
    missing = [given for given, wanted in requested.items() if wanted not in found]
    return json_responses.json_response(
        {"items": [response_models.as_customer(row) for row in rows], "missing": missing}
    )


def _requested_and_found(requested: Iterable[int], rows: Iterable[asyncpg.Record]) -> list[int]:
    """The ids for the audit, sorted: the requested ids, and the ids of the customers that were found.

    Requested ids that were not found are included, because the response reveals that no active customer has them.
    """
    return sorted({*requested, *(row["id"] for row in rows)})
