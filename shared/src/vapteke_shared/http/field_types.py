"""What the fields of requests have in common: strict types, bounds that the database has too, clear refusals."""

import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from vapteke_shared.contract.limits import INT64_MAX

_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-](?P<hours>\d{2})(?P<minutes>:?\d{2})?)?", re.ASCII
)


def refusal(kind: str, text: str) -> PydanticCustomError:
    """To be raised by a validator; the text says what is expected and holds no value."""
    return PydanticCustomError(kind, text)


def a_text(value: object) -> object:
    if not isinstance(value, str):
        raise refusal("string_type", "Input should be a valid string")
    return value


def _whole(value: object) -> object:
    """To JSON, 1.0 is the integer 1; a boolean is none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant_text(value: object) -> object:
    if not isinstance(value, str):
        return a_text(value)
    parts = _INSTANT.fullmatch(value)
    if parts is None:
        raise refusal("not_an_instant", "An instant is written YYYY-MM-DDThh:mm:ss, with an offset or in UTC")
    return f"{value}:00" if parts["hours"] and not parts["minutes"] else value


def _to_utc(at: datetime) -> datetime:
    """To the millisecond. The first and last year are left out: an offset leads out of them, and out of Postgres."""
    if at.year in (MINYEAR, MAXYEAR):
        raise refusal("out_of_range", "The instant's year is out of range")
    zoned = at if at.tzinfo else at.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


Whole = BeforeValidator(_whole)
Id = Annotated[int, Field(ge=1, le=INT64_MAX), Whole]
Moment = Annotated[datetime, Field(strict=False), BeforeValidator(_instant_text), AfterValidator(_to_utc)]
