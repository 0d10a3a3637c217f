"""What the list of customers may be asked for."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints
from vapteke_shared import fields
from vapteke_shared.fields import INT64
from vapteke_shared.queries import Digits, Flag, Ids, ListQuery, Moment, optional

from customers_api.fields import Day, Gender, PhoneText


def _text(value: Any) -> str:
    if "\0" in value:
        raise fields.refusal("zero_character", "The text holds U+0000, which no customer has")
    return str(value)


_NO_ZERO = {"pattern": r"^[^\u0000]+$"}
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), BeforeValidator(_text)]
Email = Annotated[str, StringConstraints(min_length=1, max_length=254), BeforeValidator(_text)]


class CustomerQuery(ListQuery):
    phone: PhoneText = optional("the phone, in any spelling", "+7 902 516-31-11", format="phone")
    email: Email = optional("the whole e-mail address, in any case", "user@example.com", **_NO_ZERO)
    firstname: Name = optional("how the first name begins, in any case", "викт", **_NO_ZERO)
    lastname: Name = optional("how the last name begins, in any case", "иван", **_NO_ZERO)
    city_id: Annotated[int, Field(ge=0, le=INT64), Digits] = optional("the city's number", 0)
    gender: Gender = optional("M or F", "M")
    birthday_from: Day = optional("born on this day or later", "1980-01-01")
    birthday_to: Day = optional("born on this day or earlier", "1989-12-31")
    id: Ids = optional("one of these ids, up to 1,000 of them: `id=1&id=2`", [14722, 14738])
    updated_since: Moment = optional(
        "changed at this instant or later; with any offset, without one in UTC. Each customer then has `updated_at`, "
        "and `Updated-Until` is what to ask for the next time",
        "2023-12-21T04:20:37.024Z",
    )
    include_deleted: Flag = Field(
        False, description="the deleted too; each customer then has `deleted_at`", examples=[True]
    )
