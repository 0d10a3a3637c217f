"""What callers get of customers: exactly these keys (docs/contract.md)."""

from datetime import date
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema
from vapteke_shared.http.body_models import Instant, ResponseModel, without_defaults


class PhoneItem(ResponseModel):
    """A phone, in its two parts."""

    id: int = Field(description="the number's own id", examples=[1])
    code: str = Field(description="country calling code", examples=["7"])
    number: str = Field(description="every digit after the code", examples=["9025163111"])


class CustomerItem(ResponseModel):
    """A customer in the list: the phone is an object."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    id: int = Field(description="the customer's id", examples=[14722])
    phone: PhoneItem | None = Field(description="null when an import left the customer without one")
    firstname: str | None = Field(description="first name", examples=["Виктор"])
    lastname: str | None = Field(description="last name", examples=[None])
    email: str | None = Field(description="e-mail address", examples=["ving@mail.ru"])
    birthday: date | None = Field(description="date of birth", examples=[None])
    updated_at: Instant | SkipJsonSchema[None] = Field(
        None, description="the last change; only with `updated_since`", examples=["2023-12-21T04:20:37.024Z"]
    )
    deleted_at: Instant | None = Field(
        None, description="null unless it is deleted; only with `include_deleted=true`", examples=[None]
    )


class CustomerList(ResponseModel):
    """One page of customers."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    items: list[CustomerItem] = Field(description="the page")
    count: int | SkipJsonSchema[None] = Field(
        None, description="all who meet the filters, on whatever page; not with `count=false`", examples=[78553]
    )


class Customer(ResponseModel):
    """A customer alone: the phone is its digits."""

    id: int = Field(description="the customer's id", examples=[1])
    phone: str | None = Field(
        description="digits, code and number together; null when an import left the customer without one",
        examples=["50110556645"],
    )
    firstname: str | None = Field(description="first name", examples=["Виктор"])
    lastname: str | None = Field(description="last name", examples=["Иванов"])
    email: str | None = Field(description="e-mail address", examples=["user@example.com"])
    birthday: date | None = Field(description="date of birth", examples=["2023-12-21"])
    gender: Literal["M", "F"] | None = Field(description="M, F or unknown", examples=["M"])
    city_id: int | None = Field(description="the city's number", examples=[0])
    last_auth_at: Instant | None = Field(description="the last sign-in", examples=["2023-12-21T04:20:37.024Z"])


class Done(ResponseModel):
    """A change that has been made."""

    success: Literal[True] = Field(True, description="always true: what fails is a problem")
    message: str = Field(description="what was done, for a person", examples=["The phone has been changed."])


class CustomersFound(ResponseModel):
    """Who of those asked for is there."""

    items: list[Customer] = Field(description="those that are not deleted, in the order of their ids")
    missing: list[str | int] = Field(
        description="the phones or ids for which there is nobody, as they were given", examples=[["+7 900 000-00-00"]]
    )
