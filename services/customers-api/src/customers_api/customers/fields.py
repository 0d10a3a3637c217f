"""Field types of customers: how input is cleaned and validated, with error texts that say what is expected."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from vapteke_shared.contract import limits, phones, texts
from vapteke_shared.contract.events.legacy_customers import IN_THE_FUTURE
from vapteke_shared.contract.limits import CLOCK_TOLERANCE, FIRST_BIRTHDAY, INT64_MAX
from vapteke_shared.contract.phones import PhoneInvalid
from vapteke_shared.http.field_types import Moment, Whole, invalid_value, require_text

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_PHONE_FAULTS = {
    "missing": "is empty",
    "not_digits": "contains more than digits, spaces, +, -, brackets and dots",
    "two_numbers": "contains two numbers, or a number and an extension",
    "too_short": "has fewer than 11 digits, country calling code included",
    "too_long": "has more than 15 digits",
    "no_country_code": "does not begin with a country calling code",
    "not_ten_digits_after_7": "begins with 7 and needs exactly ten more digits",
}


def _phone(text: str) -> str:
    try:
        return phones.parse(text).digits
    except PhoneInvalid as error:
        raise invalid_value(f"phone_{error.reason}", f"The phone {_PHONE_FAULTS[error.reason]}") from None


def _cleaned(value: object) -> object:
    """The text as `texts.cleaned` returns it; a value of another type unchanged, for pydantic to reject.

    pydantic calls this function before it checks the length, so the limit applies to the cleaned text.
    """
    return texts.cleaned(value) if isinstance(value, str) else value


def _not_empty(text: str) -> str:
    if "\0" in text:
        raise invalid_value("zero_character", "The text contains U+0000, which cannot be stored")
    if not text:
        raise invalid_value("empty", "The text is empty; send null to clear the field")
    return text


def _email(text: str) -> str:
    try:
        return texts.email(text)
    except texts.EmailInvalid:
        raise invalid_value("not_an_address", "This is not an e-mail address") from None


def _date_text(value: object) -> object:
    if isinstance(value, str) and not _DATE.fullmatch(value):
        raise invalid_value("not_a_date", "Write the date as YYYY-MM-DD")
    return require_text(value)


def _birthday(day: date) -> date:
    if day > datetime.now(UTC).date():
        raise invalid_value(IN_THE_FUTURE, "The birthday is in the future")
    if day < FIRST_BIRTHDAY:
        raise invalid_value("before_1900", "The birthday is before 1900")
    return day


def _sign_in(at: datetime) -> datetime:
    if at > datetime.now(UTC) + CLOCK_TOLERANCE:
        raise invalid_value(IN_THE_FUTURE, "The last sign-in is in the future")
    return at


# The pattern is only for the JSON schema: the validators above check it and give better error texts.
HAS_TEXT = {"pattern": texts.PATTERN}

PhoneText = Annotated[
    str,
    StringConstraints(max_length=limits.PHONE_SPELLING_CHARACTERS),
    AfterValidator(_phone),
    Field(
        description="phone in any spelling; stored as digits, beginning with the country calling code",
        examples=["+7 902 516-31-11"],
        json_schema_extra={"format": "phone"},
    ),
]
"""Validation returns the digits."""
Name = Annotated[
    str,
    StringConstraints(max_length=limits.NAME_CHARACTERS),
    BeforeValidator(_cleaned),
    AfterValidator(_not_empty),
    Field(json_schema_extra=HAS_TEXT),
]
Email = Annotated[
    str,
    StringConstraints(max_length=limits.EMAIL_CHARACTERS),
    BeforeValidator(_cleaned),
    AfterValidator(_not_empty),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}),
]
Day = Annotated[date, Field(strict=False), BeforeValidator(_date_text)]
Birthday = Annotated[Day, AfterValidator(_birthday)]
LastAuthAt = Annotated[Moment, AfterValidator(_sign_in)]
Gender = Literal["M", "F"]
CityId = Annotated[int, Field(ge=0, le=INT64_MAX), Whole]
