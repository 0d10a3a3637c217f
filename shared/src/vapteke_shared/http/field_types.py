"""Field types for requests: strict, with the same bounds as the database, and with clear error texts."""

import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from vapteke_shared.contract.limits import INT64_MAX

_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-](?P<hours>\d{2})(?P<minutes>:?\d{2})?)?", re.ASCII
)


def invalid_value(kind: str, text: str) -> PydanticCustomError:
    """The error to raise in a validator. `text` says what is expected.

    The caller of the service gets `text`, so it must not contain the value. `kind` is the error's type in pydantic.
    """
    return PydanticCustomError(kind, text)


def require_text(value: object) -> object:
    if not isinstance(value, str):
        raise invalid_value("string_type", "Input should be a valid string")
    return value


def _whole(value: object) -> object:
    """A whole float as an integer, because JSON may write 1 as 1.0. Any other value is returned unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant_text(value: object) -> object:
    if not isinstance(value, str):
        return require_text(value)
    parts = _INSTANT.fullmatch(value)
    if parts is None:
        raise invalid_value("not_an_instant", "Write an instant as YYYY-MM-DDThh:mm:ss, with an offset or in UTC")
    return f"{value}:00" if parts["hours"] and not parts["minutes"] else value


def _to_utc(at: datetime) -> datetime:
    """The instant in UTC, cut to the millisecond. An instant without an offset is taken as UTC.

    Raises the error of an invalid value for the years 1 and 9999, because the conversion to UTC could leave the range
    of years.
    """
    if at.year in (MINYEAR, MAXYEAR):
        raise invalid_value("out_of_range", "The instant's year is out of range")
    zoned = at if at.tzinfo else at.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


Whole = BeforeValidator(_whole)
Id = Annotated[int, Field(ge=1, le=INT64_MAX), Whole]
Moment = Annotated[datetime, Field(strict=False), BeforeValidator(_instant_text), AfterValidator(_to_utc)]
