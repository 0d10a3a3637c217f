"""The events of legacy customers: one for each row that an importer reads from vAptekeSync."""

from datetime import date
from typing import Annotated, Final, Literal

from msgspec import Meta

from vapteke_shared.contract.events.event import DIGITS, Count, Event, Instant, Int64, field_name
from vapteke_shared.contract.events.imports import Attempt, Chunk, ImportEvent, Number
from vapteke_shared.contract.limits import EMAIL_CHARACTERS, EMAIL_MIN_CHARACTERS, NAME_CHARACTERS, REASON_CHARACTERS

Phone = Annotated[str, Meta(extra_json_schema={"pattern": DIGITS})]
"""Digits that `codec.decode` checks with `phones.check`."""
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS)]
Email = Annotated[str, Meta(min_length=EMAIL_MIN_CHARACTERS, max_length=EMAIL_CHARACTERS)]
FIELDS: Final = (
    "phone",
    "firstname",
    "lastname",
    "email",
    "birthday",
    "gender",
    "city_id",
    "last_auth_at",
    "row",
)
Field = Annotated[str, field_name(FIELDS)]
Reason = Annotated[str, Meta(pattern=rf"^[a-z0-9_]{{1,{REASON_CHARACTERS}}}\Z")]
IN_THE_FUTURE: Final = "in_the_future"
PLACEHOLDER_DATE: Final = "placeholder_date"
"""The reason for a date that means "no date", such as 1900-01-01, which SQL Server makes of an empty string."""
UNREADABLE: Final = "unreadable"
"""The reason, under the field `row`, for rejecting a row of which one value makes every SELECT fail."""


class LegacyRowEvent(ImportEvent, kw_only=True):
    """The fields that every event about a legacy row has."""

    chunk: Chunk
    attempt: Attempt
    legacy_id: Annotated[Int64, Meta(description="the row's key in vAptekeSync", examples=[14722])]
    read_at: Annotated[
        Instant,
        Meta(description="when it was read, by vAptekeSync's clock", examples=["2026-01-02T03:04:05.678Z"]),
    ]
    number: Number = None


class LegacyCustomerRead(LegacyRowEvent, kw_only=True):
    """A normalised legacy customer. A field with an unusable value is null, and `unusable` has the reason."""

    type = "vapteke.legacy_customer.read"
    phone: Annotated[Phone, Meta(description="code and number together", examples=["79025163111"])]
    firstname: Annotated[Name | None, Meta(description="first name", examples=["Виктор"])] = None
    lastname: Annotated[Name | None, Meta(description="last name", examples=["Иванов"])] = None
    email: Annotated[Email | None, Meta(description="e-mail address", examples=["user@example.com"])] = None
    birthday: Annotated[date | None, Meta(description="date of birth", examples=["1980-12-21"])] = None
    gender: Annotated[Literal["M", "F"] | None, Meta(description="gender", examples=["M"])] = None
    city_id: Annotated[Count | None, Meta(description="the city's number", examples=[0])] = None
    last_auth_at: Annotated[
        Instant | None, Meta(description="the last sign-in", examples=["2023-12-21T04:20:37.024Z"])
    ] = None
    unusable: Annotated[
        dict[Field, Reason] | None,
        Meta(description="fields whose value cannot be used, and why", examples=[{"lastname": "too_long"}]),
    ] = None


class LegacyCustomerRejected(LegacyRowEvent, kw_only=True):
    """A legacy row that cannot become a customer: the reasons, without the values."""

    type = "vapteke.legacy_customer.rejected"
    reasons: Annotated[
        dict[Field, Reason],
        Meta(
            min_length=1,
            description="fields that make the row unusable, and why",
            examples=[{"phone": "too_short"}],
        ),
    ]


LEGACY_CUSTOMERS: tuple[type[Event], ...] = (LegacyCustomerRead, LegacyCustomerRejected)
