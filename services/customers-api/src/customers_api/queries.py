"""What a list of customers may be asked for: every parameter strictly read, refused when it is unknown or repeated."""

import re
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from customers_api.fields import INT64, Day, Gender, Moment, PhoneText

_WHOLE = re.compile(r"-?[0-9]{1,20}")
_UNPLUSSED = re.compile(r" (\d{2}:?\d{2})$", re.ASCII)


def _digits(value: Any) -> int:
    if not _WHOLE.fullmatch(value):
        raise PydanticCustomError("not_whole", "A whole number is written in digits")
    return int(value)


def _flag(value: Any) -> bool:
    if value not in ("true", "false"):
        raise PydanticCustomError("not_a_flag", "This is either true or false")
    return bool(value == "true")


def _text(value: Any) -> str:
    if "\0" in value:
        raise PydanticCustomError("zero_character", "The text holds U+0000, which no customer has")
    return str(value)


def _plussed(value: Any) -> str:
    """A plus that was not encoded arrives as a blank."""
    return _UNPLUSSED.sub(r"+\1", value)


Digits = BeforeValidator(_digits)
Id = Annotated[int, Field(ge=1, le=INT64), Digits]
Ids = Annotated[list[Id], Field(max_length=1000), AfterValidator(lambda ids: sorted(set(ids)))]
Flag = Annotated[bool, BeforeValidator(_flag)]
_NO_ZERO = {"pattern": r"^[^\u0000]+$"}
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), BeforeValidator(_text)]
Email = Annotated[str, StringConstraints(min_length=1, max_length=254), BeforeValidator(_text)]
Since = Annotated[Moment, BeforeValidator(_plussed)]


def _optional(description: str, *examples: Any, **schema: Any) -> Any:
    return Field(None, description=description, examples=list(examples) or None, json_schema_extra=schema)


class CustomerQuery(BaseModel):
    """The filters can be combined; a customer must meet them all. What was not given is None."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000), Digits] = Field(50, description="items per answer", examples=[50])
    offset: Annotated[int, Field(ge=0, le=INT64), Digits] = Field(0, description="rows to skip", examples=[0])
    cursor: str = _optional("where to go on, from the `Link` of the page before; not beside `offset`")
    count: Flag = Field(True, description="false leaves `count` out", examples=[True])
    phone: PhoneText = _optional("the phone, in any spelling", "+7 902 516-31-11", format="phone")
    email: Email = _optional("the whole e-mail address, in any case", "user@example.com", **_NO_ZERO)
    firstname: Name = _optional("how the first name begins, in any case", "викт", **_NO_ZERO)
    lastname: Name = _optional("how the last name begins, in any case", "иван", **_NO_ZERO)
    city_id: Annotated[int, Field(ge=0, le=INT64), Digits] = _optional("the city's number", 0)
    gender: Gender = _optional("M or F", "M")
    birthday_from: Day = _optional("born on this day or later", "1980-01-01")
    birthday_to: Day = _optional("born on this day or earlier", "1989-12-31")
    id: Ids = _optional("one of these ids, up to 1,000 of them: `id=1&id=2`", [14722, 14738])
    updated_since: Since = _optional(
        "changed at this instant or later; with any offset, without one in UTC. Each customer then has `updated_at`, "
        "and `Updated-Until` is what to ask for the next time",
        "2023-12-21T04:20:37.024Z",
    )
    include_deleted: Flag = Field(
        False, description="the deleted too; each customer then has `deleted_at`", examples=[True]
    )

    def filters(self) -> dict[str, Any]:
        """Those that were given."""
        given = self.model_dump(exclude_unset=True, exclude={"limit", "offset", "cursor", "count"})
        return {name: value for name, value in given.items() if value is not False}


def read(request: Request) -> CustomerQuery:
    """Raises RequestValidationError. FastAPI would take the last of repeated parameters, and any bytes for UTF-8."""
    try:
        pairs = parse_qsl(request.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise refusal("", "The parameters must be percent-encoded UTF-8") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name == "id":
            given.setdefault(name, []).append(value)
        elif name in given:
            raise refusal(name, "This can be given once")
        else:
            given[name] = value
    if "cursor" in given and "offset" in given:
        raise refusal("cursor", "The cursor already says where to go on: leave offset out")
    return _validated(given)


def _validated(given: dict[str, Any]) -> CustomerQuery:
    try:
        return CustomerQuery.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise RequestValidationError([{**fault, "loc": ("query", *fault["loc"])} for fault in faults]) from None


def refusal(name: str, text: str) -> RequestValidationError:
    """A fault of the parameter of this name."""
    return RequestValidationError([{"type": "refused", "loc": ("query", name) if name else ("query",), "msg": text}])


def parameters() -> list[dict[str, Any]]:
    """As OpenAPI has them: what may be absent has no default, least of all null."""
    fields = CustomerQuery.model_json_schema()["properties"].items()
    return [
        {
            "name": name,
            "in": "query",
            "description": schema.pop("description"),
            "schema": {key: value for key, value in schema.items() if value is not None},
        }
        for name, schema in fields
    ]
