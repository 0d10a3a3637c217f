"""The endpoints of one customer (docs/contract.md, "Customers")."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import Body, Header, Path, Request, Response
from pydantic import Discriminator, Tag
from vapteke_shared.contract.limits import INT64_MAX
from vapteke_shared.http import application, json_responses, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists.query_parameters import Digits
from vapteke_shared.http.problems import ProblemError

from customers_api.customers import etags, path_convertor, queries, response_models, restorations, writes
from customers_api.customers.queries import Row
from customers_api.customers.request_models import NewCustomer, PhoneChange, ProfileChange
from customers_api.customers.response_models import Done
from customers_api.customers.writes import PhoneTaken, VersionMismatch

router = application.router("customers")

_PATH = f"/rest/v1/customers/{path_convertor.CUSTOMER_ID}/"
_READ, _WRITE = [auth.require_scope("customers:read")], [auth.require_scope("customers:write")]
_ETAG = openapi.headers(ETag="the customer's version")
_PHONE_TAKEN = openapi.extended(
    openapi.problems(phone_taken=409),
    customer_id={"type": "integer", "description": "the customer who has the phone", "examples": [14722]},
)
_CUSTOMER_RESPONSE: dict[str, Any] = {
    "model": response_models.Customer,
    "headers": _ETAG,
    "description": "The customer",
}

CustomerId = Annotated[int, Path(ge=1, le=INT64_MAX, description="the customer's id", examples=[14722]), Digits]
IfMatch = Annotated[
    str | None, Header(description="only if the customer's `ETag` is this one; `*` allows any", examples=['"3"'])
]
IfNoneMatch = Annotated[
    str | None, Header(description="304 if the customer's `ETag` is still this one", examples=['"3"'])
]


def _kind(body: Any) -> str | None:
    """The tag of the request model that validates a PATCH body: `(phone)` or `(profile)`.

    A phone alone is a phone change. A body without a phone is a profile change, also if it is not an object. None: the
    body has a phone and other fields, and is rejected with the text `_BOTH`.
    """
    fields = body if isinstance(body, dict) else {}
    if "phone" not in fields:
        return "(profile)"
    return "(phone)" if len(fields) == 1 else None


_BOTH = "A phone is changed by itself: send the other fields in a request of their own"
Change = Annotated[
    Annotated[ProfileChange, Tag("(profile)")] | Annotated[PhoneChange, Tag("(phone)")],
    Discriminator(_kind, custom_error_type="phone_not_alone", custom_error_message=_BOTH),
    Body(description="a profile change, or only a phone"),
]


@router.post(
    "/rest/v1/customers/",
    summary="Create a customer",
    status_code=201,
    dependencies=_WRITE,
    responses={
        201: _CUSTOMER_RESPONSE | {"headers": _ETAG | openapi.headers(Location="the customer's path")},
        **_PHONE_TAKEN,
    },
)
async def create_customer(request: Request, body: NewCustomer) -> Response:
    """Only the phone is required. A deleted customer's phone is free. `customer_id` of a 409 is who has the phone."""
    async with _recording(request, "customers.create") as connection:
        customer = await writes.create(connection, body.phone, body.model_dump(exclude={"phone"}))
    data_access.record(request, "customers.create", [customer["id"]])
    return _customer_response(customer, 201, {"Location": f"/rest/v1/customers/{customer['id']}/"})


@router.get(
    _PATH,
    summary="Read a customer",
    dependencies=_READ,
    responses={
        200: _CUSTOMER_RESPONSE,
        304: {"description": "The customer has not changed since `If-None-Match`", "headers": _ETAG},
        **openapi.problems(customer_not_found=404),
    },
)
async def get_customer(request: Request, customer_id: CustomerId, if_none_match: IfNoneMatch = None) -> Response:
    """A deleted customer is not found."""
    async with _recording(request, "customers.read", customer_id) as connection:
        customer = await queries.get(connection, customer_id)
    data_access.record(request, "customers.read", [customer_id])
    if if_none_match is not None and etags.is_known(if_none_match, customer["version"]):
        return Response(status_code=304, headers={"ETag": etags.of(customer["version"])})
    return _customer_response(customer)


@router.patch(
    _PATH,
    summary="Change a customer's profile, or its phone",
    dependencies=_WRITE,
    responses={
        200: {
            "model": response_models.Customer | Done,
            "headers": _ETAG,
            "description": "The customer; for a phone change, a confirmation",
        },
        **openapi.problems(customer_not_found=404, version_mismatch=412),
        **_PHONE_TAKEN,
    },
)
async def change_customer(
    request: Request, customer_id: CustomerId, body: Change, if_match: IfMatch = None
) -> Response:
    """Fields that are not sent stay as they are; `null` clears a field. A phone is changed by itself.

    A profile change returns the whole customer, so permission to write includes reading the written customer. Without
    a difference nothing is written.
    """
    if isinstance(body, PhoneChange):
        return await _change_phone(request, customer_id, body.phone, if_match)
    async with _recording(request, "customers.update", customer_id) as connection:
        customer = await writes.update(
            connection, customer_id, body.model_dump(exclude_unset=True), etags.expected_versions(if_match)
        )
    data_access.record(request, "customers.update", [customer_id])
    data_access.record(request, "customers.read", [customer_id])
    return _customer_response(customer)


@router.patch(
    _PATH + "phone/",
    summary="Change a customer's phone",
    dependencies=_WRITE,
    responses={
        200: {"model": Done, "headers": _ETAG, "description": "A confirmation"},
        **openapi.problems(customer_not_found=404, version_mismatch=412),
        **_PHONE_TAKEN,
    },
)
async def change_phone(
    request: Request, customer_id: CustomerId, body: PhoneChange, if_match: IfMatch = None
) -> Response:
    """The old phone becomes free. `customer_id` of a 409 is who has the new one."""
    return await _change_phone(request, customer_id, body.phone, if_match)


@router.delete(
    _PATH,
    summary="Delete a customer",
    dependencies=_WRITE,
    responses={
        200: {"model": Done, "description": "A confirmation"},
        **openapi.problems(customer_not_found=404, version_mismatch=412),
    },
)
async def delete_customer(request: Request, customer_id: CustomerId, if_match: IfMatch = None) -> Response:
    """The customer is kept and can be restored. Its phone becomes free for others."""
    async with _recording(request, "customers.delete", customer_id) as connection:
        written = await writes.delete(connection, customer_id, etags.expected_versions(if_match))
    data_access.record(request, "customers.delete", written.ids)
    return _done("The customer has been deleted.")


@router.post(
    _PATH + "restore/",
    summary="Restore a deleted customer",
    dependencies=_WRITE,
    responses={200: _CUSTOMER_RESPONSE, **openapi.problems(customer_not_found=404), **_PHONE_TAKEN},
)
async def restore_customer(request: Request, customer_id: CustomerId) -> Response:
    """A customer that is not deleted stays as it is.

    A phone that was set through the API must still be free: otherwise 409, and `customer_id` is who has it. Who gets a
    phone that came from an import is decided by the rules of imports, so the customer may come back without a phone.
    """
    async with _recording(request, "customers.restore", customer_id) as connection:
        customer, ids = await restorations.restore(connection, customer_id)
    data_access.record(request, "customers.restore", ids)
    data_access.record(request, "customers.read", [customer_id])
    return _customer_response(customer)


async def _change_phone(request: Request, customer_id: int, phone: str, if_match: str | None) -> Response:
    async with _recording(request, "customers.phone_change", customer_id) as connection:
        written = await writes.change_phone(connection, customer_id, phone, etags.expected_versions(if_match))
    data_access.record(request, "customers.phone_change", written.ids)
    return _done("The phone has been changed.", {"ETag": etags.of(written.version)})


@asynccontextmanager
async def _recording(request: Request, action: str, *ids: int) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection. If the block raises a ProblemError, write an audit record, and raise the error again.

    The record is needed because the error reveals who has a phone, or whether a customer exists. It names `action` and
    the customers `ids`; for PhoneTaken, the action is `customers.phone_taken`, and the phone's holder is named too.
    VersionMismatch also gets the header `ETag`. If the block succeeds, nothing is recorded: the caller must do that.
    """
    try:
        async with application.connection(request) as connection:
            yield connection
    except PhoneTaken as taken:
        data_access.record(request, "customers.phone_taken", [taken.holder_id, *ids])
        raise
    except ProblemError as refusal:
        data_access.record(request, action, ids, refused=refusal.code)
        if isinstance(refusal, VersionMismatch):
            refusal.headers = {"ETag": etags.of(refusal.version)}
        raise


def _customer_response(customer: Row, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    tagged = {"ETag": etags.of(customer["version"]), **(headers or {})}
    return json_responses.json_response(response_models.as_customer(customer), status, tagged)


def _done(message: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_responses.json_response({"success": True, "message": message}, headers=headers)
