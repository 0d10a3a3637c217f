"""The shapes of the answers (contract): bodies hold exactly these keys."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from customers_api.answers import instant
from customers_api.fields import Birthday, CityId, Email, Gender, Moment, Name, PhoneText

Instant = Annotated[datetime, PlainSerializer(instant, return_type=str)]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PhoneItem(Answer):
    id: int = Field(examples=[1])
    code: str = Field(description="country calling code", examples=["7"])
    number: str = Field(description="every digit after the code", examples=["9025163111"])


class CustomerItem(Answer):
    """A customer in the list: the phone is an object."""

    id: int = Field(examples=[14722])
    phone: PhoneItem | None = Field(description="null when an import left the customer without one")
    firstname: str | None = Field(examples=["Виктор"])
    lastname: str | None = Field(examples=[None])
    email: str | None = Field(examples=["ving@mail.ru"])
    birthday: date | None = Field(examples=[None])


class CustomerList(Answer):
    items: list[CustomerItem]
    count: int = Field(description="all customers that are not deleted", examples=[78553])


class Customer(Answer):
    id: int = Field(examples=[1])
    phone: str | None = Field(description="digits, code and number together", examples=["50110556645"])
    firstname: str | None = Field(examples=["Виктор"])
    lastname: str | None = Field(examples=["Иванов"])
    email: str | None = Field(examples=["user@example.com"])
    birthday: date | None = Field(examples=["2023-12-21"])
    gender: Literal["M", "F"] | None = Field(examples=["M"])
    city_id: int | None = Field(examples=[0])
    last_auth_at: Instant | None = Field(examples=["2023-12-21T04:20:37.024Z"])


class Done(Answer):
    """A change that has been made."""

    success: Literal[True] = Field(True, description="always true: what fails is a problem")
    message: str = Field(description="what was done, for a person", examples=["The phone has been changed."])


class Asked(BaseModel):
    """A body: strict types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ProfileChange(Asked):
    """Absent fields stay as they are, `null` clears one."""

    firstname: Name | None = Field(None, description="trimmed", examples=["Виктор"])
    lastname: Name | None = Field(None, description="trimmed", examples=["Иванов"])
    email: Email | None = Field(None, description="an e-mail address", examples=["user@example.com"])
    birthday: Birthday | None = Field(
        None, description="1900-01-01 or later, not in the future", examples=["2023-12-21"]
    )
    gender: Gender | None = Field(None, description="M or F", examples=["M"])
    city_id: CityId | None = Field(None, description="the city's number", examples=[0])
    last_auth_at: Moment | None = Field(
        None,
        description="with any offset, without one in UTC; kept to the millisecond",
        examples=["2023-12-21T04:20:37.024Z"],
    )


class NewCustomer(ProfileChange):
    """Only the phone is required."""

    phone: PhoneText


class PhoneChange(Asked):
    """A phone, and nothing else."""

    phone: PhoneText


class StartedImport(Answer):
    import_id: UUID
    status: str = Field(examples=["requested"])
    url: str = Field(description="where the job is to be watched")


class ImportStarted(Answer):
    success: Literal[True] = True
    message: str = Field(examples=["The import has been requested."])
    data: StartedImport


class Import(Answer):
    """An import job. While it lives, the counts are those of the ranges read so far."""

    id: UUID
    status: Literal["requested", "planning", "running", "completed", "failed", "cancelled"]
    read: int = Field(description="created + updated + unchanged + skipped + rejected", examples=[78553])
    created: int = Field(description="legacy rows seen for the first time")
    updated: int = Field(description="legacy rows that have changed")
    unchanged: int
    skipped: int = Field(description="rows whose customer was deleted through the API")
    rejected: int = Field(description="rows without a usable phone")
    repaired: int = Field(description="accepted rows that lost a field or a phone on the way in")
    percent: float | None = Field(description="null before the plan", examples=[100.0])
    rows_per_second: float | None
    seconds_left: float | None
    error: str | None = Field(description="why it failed; on a completed one, a warning")
    requested_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class ImportList(Answer):
    items: list[Import]
    count: int


class Rejection(Answer):
    """What was rejected or repaired, and why; never the value."""

    legacy_id: int
    kind: Literal["row", "field", "phone_conflict"]
    field: str = Field(examples=["email"])
    reason: str = Field(examples=["not_an_address"])
    customer_id: int | None
    other_customer_id: int | None = Field(description="with phone_conflict: who holds the phone")
    other_legacy_id: int | None


class RejectionList(Answer):
    items: list[Rejection]
    count: int
