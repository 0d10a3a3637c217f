"""Request models of customers."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, WrapValidator
from vapteke_shared.contract.limits import IDS_PER_REQUEST
from vapteke_shared.http.body_models import RequestModel
from vapteke_shared.http.field_types import Id

from customers_api.customers.fields import Birthday, CityId, Email, Gender, LastAuthAt, Name, PhoneText


class ProfileChange(RequestModel):
    """Fields that are not sent stay as they are; `null` clears a field."""

    firstname: Name | None = Field(
        None, description="first name; invisible characters and surrounding blanks are removed", examples=["Виктор"]
    )
    lastname: Name | None = Field(None, description="last name; cleaned in the same way", examples=["Иванов"])
    email: Email | None = Field(None, description="e-mail address", examples=["user@example.com"])
    birthday: Birthday | None = Field(
        None, description="date of birth: 1900-01-01 or later, not in the future", examples=["2023-12-21"]
    )
    gender: Gender | None = Field(None, description="M or F", examples=["M"])
    city_id: CityId | None = Field(None, description="number of the city", examples=[0])
    last_auth_at: LastAuthAt | None = Field(
        None,
        description="the last sign-in, with any UTC offset; without an offset it is UTC. Stored to the millisecond; "
        "at most five minutes in the future",
        examples=["2023-12-21T04:20:37.024Z"],
    )


class NewCustomer(ProfileChange):
    """Only the phone is required."""

    phone: PhoneText


class PhoneChange(RequestModel):
    """Only a phone."""

    phone: PhoneText


def _as_given(given: Any, digits: Callable[[Any], str]) -> Any:
    digits(given)
    return given


class LookupByPhones(RequestModel):
    """Looks up customers by their phones."""

    phones: list[Annotated[PhoneText, WrapValidator(_as_given)]] = Field(
        min_length=1,
        max_length=IDS_PER_REQUEST,
        description="phones, in any spelling",
        examples=[["+7 902 516-31-11", "50110556645"]],
    )


class LookupByIds(RequestModel):
    """Looks up customers by their ids."""

    ids: list[Id] = Field(
        min_length=1, max_length=IDS_PER_REQUEST, description="the customers' ids", examples=[[1, 14722]]
    )
