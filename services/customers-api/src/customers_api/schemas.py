"""The shapes of the answers (contract): bodies hold exactly these keys."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, WrapValidator
from pydantic.json_schema import SkipJsonSchema
from vapteke_shared.contract.limits import IDS_PER_REQUEST, INT64_MAX, INT64_MIN, REASON_CHARACTERS
from vapteke_shared.http.body_models import Answer, Asked, Instant, without_defaults
from vapteke_shared.http.field_types import Id
from vapteke_shared.http.lists import query_parameters
from vapteke_shared.http.lists.query_parameters import Digits, Distinct, Paging, optional

from customers_api.fields import Birthday, CityId, Email, Gender, LastAuthAt, Name, PhoneText


class PhoneItem(Answer):
    """A phone, in its two parts."""

    id: int = Field(description="the number's own id", examples=[1])
    code: str = Field(description="country calling code", examples=["7"])
    number: str = Field(description="every digit after the code", examples=["9025163111"])


class CustomerItem(Answer):
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


class CustomerList(Answer):
    """One page of customers."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    items: list[CustomerItem] = Field(description="the page")
    count: int | SkipJsonSchema[None] = Field(
        None, description="all who meet the filters, on whatever page; not with `count=false`", examples=[78553]
    )


class Customer(Answer):
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


class Done(Answer):
    """A change that has been made."""

    success: Literal[True] = Field(True, description="always true: what fails is a problem")
    message: str = Field(description="what was done, for a person", examples=["The phone has been changed."])


class ProfileChange(Asked):
    """Absent fields stay as they are, `null` clears one."""

    firstname: Name | None = Field(
        None, description="first name; invisible characters and blanks at its ends are removed", examples=["Виктор"]
    )
    lastname: Name | None = Field(None, description="last name; the same", examples=["Иванов"])
    email: Email | None = Field(None, description="an e-mail address", examples=["user@example.com"])
    birthday: Birthday | None = Field(
        None, description="date of birth: 1900-01-01 or later, not in the future", examples=["2023-12-21"]
    )
    gender: Gender | None = Field(None, description="M or F", examples=["M"])
    city_id: CityId | None = Field(None, description="the city's number", examples=[0])
    last_auth_at: LastAuthAt | None = Field(
        None,
        description="the last sign-in: with any offset, without one in UTC; kept to the millisecond; "
        "at most five minutes in the future",
        examples=["2023-12-21T04:20:37.024Z"],
    )


class NewCustomer(ProfileChange):
    """Only the phone is required."""

    phone: PhoneText


class PhoneChange(Asked):
    """A phone, and nothing else."""

    phone: PhoneText


def _as_given(given: Any, digits: Callable[[Any], str]) -> Any:
    digits(given)
    return given


class LookupByPhones(Asked):
    """The customers who have one of these phones."""

    phones: list[Annotated[PhoneText, WrapValidator(_as_given)]] = Field(
        min_length=1,
        max_length=IDS_PER_REQUEST,
        description="in any spelling",
        examples=[["+7 902 516-31-11", "50110556645"]],
    )


class LookupByIds(Asked):
    """The customers with these ids."""

    ids: list[Id] = Field(
        min_length=1, max_length=IDS_PER_REQUEST, description="the customers' ids", examples=[[1, 14722]]
    )


class CustomersFound(Answer):
    """Who of those asked for is there."""

    items: list[Customer] = Field(description="those that are not deleted, in the order of their ids")
    missing: list[str | int] = Field(
        description="the phones or ids for which there is nobody, as they were given", examples=[["+7 900 000-00-00"]]
    )


ImportId = Annotated[UUID, Field(description="the import's id", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"])]
Status = Literal["requested", "planning", "running", "completed", "failed", "cancelled"]
Statuses = Annotated[list[Status], Distinct]
Kind = Literal["row", "field", "phone_conflict"]
Word = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9_]{{1,{REASON_CHARACTERS}}}$")]
LegacyIds = Annotated[
    list[Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX), Digits]],
    Field(max_length=IDS_PER_REQUEST),
    Distinct,
]


class StartedImport(Answer):
    """The import that has been requested, or the one that is running."""

    import_id: ImportId
    status: Status = Field(description="how far it is; it never goes back", examples=["requested"])
    url: str = Field(
        description="where the job is to be watched",
        examples=["/rest/v1/imports/0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11/"],
    )


class ImportStarted(Answer):
    """An import has been requested, or one is running."""

    success: Literal[True] = Field(True, description="always true: what fails is a problem")
    message: str = Field(description="which of the two, for a person", examples=["The import has been requested."])
    data: StartedImport = Field(description="the job")


class Import(Answer):
    """An import job. While it lives, the counts are those of the ranges read so far."""

    id: ImportId
    status: Status = Field(description="how far it is; it never goes back", examples=["completed"])
    read: int = Field(description="created + updated + unchanged + skipped + rejected", examples=[78553])
    created: int = Field(description="legacy rows seen for the first time", examples=[77543])
    updated: int = Field(description="legacy rows that have changed", examples=[0])
    unchanged: int = Field(description="legacy rows as they were before", examples=[0])
    skipped: int = Field(description="rows whose customer was deleted through the API", examples=[0])
    rejected: int = Field(description="rows without a usable phone", examples=[1010])
    repaired: int = Field(description="accepted rows that lost a field or a phone on the way in", examples=[2252])
    percent: float | None = Field(description="null before the plan", examples=[100.0])
    rows_per_second: float | None = Field(description="since it started; null before", examples=[11316.1])
    seconds_left: float | None = Field(description="at that rate; null when it cannot be told", examples=[None])
    error: str | None = Field(description="why it failed, or stalled once it was cancelled", examples=[None])
    warnings: list[str] = Field(
        description="what an operator should look at though the import went on, for a person", examples=[[]]
    )
    waiting_for: str | None = Field(
        description="who or what keeps it from going on, for a person; null: nothing unusual", examples=[None]
    )
    requested_at: Instant = Field(description="when it was asked for", examples=["2026-01-02T03:04:05.678Z"])
    started_at: Instant | None = Field(
        description="when an importer took it; null before", examples=["2026-01-02T03:04:05.901Z"]
    )
    finished_at: Instant | None = Field(
        description="when its verdict was made; the counts are final then", examples=["2026-01-02T03:04:12.890Z"]
    )


class ImportQuery(Paging):
    """The filters can be combined."""

    status: Statuses = optional("in one of these states: `status=failed&status=cancelled`", ["failed", "cancelled"])
    requested_from: query_parameters.Moment = optional("asked for at this instant or later", "2026-01-01T00:00:00Z")
    requested_to: query_parameters.Moment = optional("asked for at this instant or earlier", "2026-02-01T00:00:00Z")


class RejectionQuery(Paging):
    """The filters can be combined."""

    kind: Kind = optional("of this kind", "field")
    field: Word = optional("of this field", "email")
    reason: Word = optional("for this reason", "not_an_address")
    legacy_id: LegacyIds = optional("of one of these rows: `legacy_id=3049&legacy_id=3050`", [3049, 3050])
    customer_id: query_parameters.Ids = optional("of one of these customers: `customer_id=1&customer_id=2`", [14722])


class ImportList(Answer):
    """One page of imports."""

    items: list[Import] = Field(description="the page")
    count: int = Field(description="all that meet the filters", examples=[2])


class Rejection(Answer):
    """What was rejected or repaired, and why; never the value."""

    legacy_id: int = Field(description="the row's key in vAptekeSync", examples=[3049])
    kind: Kind = Field(
        description="the row was rejected; a field could not be used; the phone is somebody else's", examples=["field"]
    )
    field: str = Field(description="the field", examples=["email"])
    reason: str = Field(description="why, for a program", examples=["not_an_address"])
    customer_id: int | None = Field(description="whose row it is; null when there is no customer", examples=[14722])
    other_customer_id: int | None = Field(description="with phone_conflict: who holds the phone", examples=[None])
    other_legacy_id: int | None = Field(
        description="with phone_conflict: the row of who holds the phone", examples=[None]
    )


class RejectionList(Answer):
    """One page of what was rejected or repaired."""

    items: list[Rejection] = Field(description="the page")
    count: int = Field(description="all of this import that meet the filters", examples=[3262])
