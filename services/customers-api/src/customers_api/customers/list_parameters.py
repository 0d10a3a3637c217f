"""Query parameters of the list of customers."""

from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from vapteke_shared.contract import limits, texts
from vapteke_shared.contract.limits import INT64_MAX
from vapteke_shared.http import field_types
from vapteke_shared.http.lists.query_parameters import Digits, Flag, Ids, ListQuery, Moment, optional

from customers_api.customers.fields import HAS_TEXT, Day, Gender, PhoneText


def _text(value: Any) -> str:
    """The text cleaned in the way in which names and addresses are stored. U+0000 is a validation error."""
    if "\0" in value:
        raise field_types.invalid_value("zero_character", "The text contains U+0000, which no stored text has")
    return texts.cleaned(value)


def _address(text: str) -> str:
    with suppress(texts.EmailInvalid):  # no customer has such an address
        return texts.email(text)
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=limits.NAME_CHARACTERS), BeforeValidator(_text)]
Email = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.EMAIL_CHARACTERS),
    BeforeValidator(_text),
    AfterValidator(_address),
]


class CustomerQuery(ListQuery):
    phone: PhoneText = optional("the phone, in any spelling", "+7 902 516-31-11", format="phone")
    email: Email = optional("the whole e-mail address, in any case", "user@example.com", **HAS_TEXT)
    firstname: Name = optional("how the first name begins, in any case", "викт", **HAS_TEXT)
    lastname: Name = optional("how the last name begins, in any case", "иван", **HAS_TEXT)
    city_id: Annotated[int, Field(ge=0, le=INT64_MAX), Digits] = optional("number of the city", 0)
    gender: Gender = optional("M or F", "M")
    birthday_from: Day = optional("born on this day or later", "1980-01-01")
    birthday_to: Day = optional("born on this day or earlier", "1989-12-31")
    id: Ids = optional("one of these ids, up to 1,000 of them: `id=1&id=2`", [14722, 14738])
    updated_since: Moment = optional(
        "changed at this time or later. Each customer then has `updated_at`, and the header `Updated-Until` is the "
        "value for the next request",
        "2023-12-21T04:20:37.024Z",
    )
    include_deleted: Flag = Field(
        False, description="include deleted customers; each customer then has `deleted_at`", examples=[True]
    )
