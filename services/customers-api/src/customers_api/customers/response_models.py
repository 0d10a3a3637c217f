"""Response models of customers, for the OpenAPI document. The code that builds a response must give exactly these keys.

FastAPI does not check that. A field's description says if the key is absent in some responses. See docs/contract.md,
"Customers".
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from vapteke_shared.http import json_responses
from vapteke_shared.http.body_models import Instant, ResponseModel, without_defaults


class PhoneItem(ResponseModel):
    """A phone in two parts."""

    id: int = Field(description="id of the phone", examples=[1])
    code: str = Field(description="country calling code", examples=["7"])
    number: str = Field(description="all digits after the code", examples=["9025163111"])


class CustomerItem(ResponseModel):
    """A customer in the list. The phone is an object."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    id: int = Field(description="the customer's id", examples=[14722])
    phone: PhoneItem | None = Field(description="null if an import left the customer without a phone")
    firstname: str | None = Field(description="first name", examples=["Виктор"])
    lastname: str | None = Field(description="last name", examples=[None])
    email: str | None = Field(description="e-mail address", examples=["ving@mail.ru"])
    birthday: date | None = Field(description="date of birth", examples=[None])
    updated_at: Instant | SkipJsonSchema[None] = Field(
        None, description="time of the last change; only with `updated_since`", examples=["2023-12-21T04:20:37.024Z"]
    )
    deleted_at: Instant | None = Field(
        None,
        description="time of the deletion, or null; only with `include_deleted=true`",
        examples=[None],
    )


class CustomerList(ResponseModel):
    """One page of customers."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    items: list[CustomerItem] = Field(description="the customers of this page")
    count: int | SkipJsonSchema[None] = Field(
        None, description="number of customers on all pages; absent with `count=false`", examples=[78553]
    )


class Customer(ResponseModel):
    """One customer. The phone is a string of digits."""

    id: int = Field(description="the customer's id", examples=[1])
    phone: str | None = Field(
        description="code and number together, digits only; null if an import left the customer without a phone",
        examples=["50110556645"],
    )
    firstname: str | None = Field(description="first name", examples=["Виктор"])
    lastname: str | None = Field(description="last name", examples=["Иванов"])
    email: str | None = Field(description="e-mail address", examples=["user@example.com"])
    birthday: date | None = Field(description="date of birth", examples=["2023-12-21"])
    gender: Literal["M", "F"] | None = Field(description="M, F, or null if unknown", examples=["M"])
    city_id: int | None = Field(description="number of the city", examples=[0])
    last_auth_at: Instant | None = Field(description="time of the last sign-in", examples=["2023-12-21T04:20:37.024Z"])


_CUSTOMER_KEYS = tuple(Customer.model_fields)


def as_customer(row: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `Customer` for `json_response`, from a row that may have more columns.

    `last_auth_at` becomes a text; `birthday` stays a date.
    """
    known = {name: row[name] for name in _CUSTOMER_KEYS}
    return known | {"last_auth_at": json_responses.instant(row["last_auth_at"])}


class Done(ResponseModel):
    """Confirms a change."""

    success: Literal[True] = Field(True, description="always true; a failure is a problem document")
    message: str = Field(description="what was done, as text for people", examples=["The phone has been changed."])


class CustomersFound(ResponseModel):
    """The result of a lookup."""

    items: list[Customer] = Field(description="the active customers that were found, ordered by id")
    missing: list[str | int] = Field(
        description="the phones or ids without an active customer, as they were sent", examples=[["+7 900 000-00-00"]]
    )
