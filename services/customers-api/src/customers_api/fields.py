"""What the fields of a request may hold: strict types, trimmed texts, and refusals that say what is expected."""

import re
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime
from typing import Annotated, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from vapteke_shared import phones
from vapteke_shared.phones import PhoneInvalid

INT64 = 2**63 - 1
_FIRST_BIRTHDAY = date(1900, 1, 1)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}(:?\d{2})?)?", re.ASCII)
_PHONE_FAULTS = {
    "missing": "is empty",
    "not_digits": "holds more than digits, spaces, +, -, brackets and dots",
    "too_short": "has fewer than 11 digits, country calling code included",
    "too_long": "has more than 15 digits",
    "no_country_code": "does not begin with a country calling code",
}


def _refuse(kind: str, text: str) -> PydanticCustomError:
    return PydanticCustomError(kind, text)


def _phone(text: str) -> str:
    try:
        return phones.parse(text).digits
    except PhoneInvalid as error:
        raise _refuse(f"phone_{error.reason}", f"The phone {_PHONE_FAULTS[error.reason]}") from None


def _kept(text: str) -> str:
    text = text.strip()
    if "\0" in text:
        raise _refuse("zero_character", "The text holds U+0000, which cannot be kept")
    if not text:
        raise _refuse("empty", "The text is empty: null clears a field")
    return text


def _email(text: str) -> str:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        raise _refuse("not_an_address", "This is no e-mail address") from None


def _date_text(value: object) -> object:
    if isinstance(value, str) and not _DATE.fullmatch(value):
        raise _refuse("not_a_date", "A date is written YYYY-MM-DD")
    return _text(value)


def _instant_text(value: object) -> object:
    if isinstance(value, str) and not _INSTANT.fullmatch(value):
        raise _refuse("not_an_instant", "An instant is written YYYY-MM-DDThh:mm:ss, with an offset or in UTC")
    return _text(value)


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise _refuse("string_type", "Input should be a valid string")
    return value


def _whole(value: object) -> object:
    """To JSON, 1.0 is the integer 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _birthday(day: date) -> date:
    if day > datetime.now(UTC).date():
        raise _refuse("in_the_future", "The birthday lies in the future")
    if day < _FIRST_BIRTHDAY:
        raise _refuse("before_1900", "The birthday lies before 1900")
    return day


def _to_utc(at: datetime) -> datetime:
    """To the millisecond. The first and last year are left out: an offset leads out of them, and out of Postgres."""
    if at.year in (MINYEAR, MAXYEAR):
        raise _refuse("out_of_range", "The instant's year is out of range")
    zoned = at if at.tzinfo else at.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


# What JSON Schema adds in words of its own: the validators above say it better.
_HAS_TEXT = {"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}

PhoneText = Annotated[
    str,
    StringConstraints(max_length=100),
    AfterValidator(_phone),
    Field(
        description="a phone in any spelling; kept as digits, country calling code first",
        examples=["+7 902 516-31-11"],
        json_schema_extra={"format": "phone"},
    ),
]
"""Validated, it is the digits alone."""
Name = Annotated[str, StringConstraints(max_length=100), AfterValidator(_kept), Field(json_schema_extra=_HAS_TEXT)]
Email = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(_kept),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}),
]
Day = Annotated[date, Field(strict=False), BeforeValidator(_date_text)]
Birthday = Annotated[Day, AfterValidator(_birthday)]
Moment = Annotated[datetime, Field(strict=False), BeforeValidator(_instant_text), AfterValidator(_to_utc)]
Gender = Literal["M", "F"]
CityId = Annotated[int, Field(ge=0, le=INT64), BeforeValidator(_whole)]
Id = Annotated[int, Field(ge=1, le=INT64), BeforeValidator(_whole)]
