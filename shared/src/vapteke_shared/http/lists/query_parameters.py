"""Query parameters of lists. Unknown parameters are rejected, except `_`. So are repeated ones that are not lists."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeVar, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vapteke_shared.contract.limits import IDS_PER_REQUEST, INT64_MAX, PAGE_ITEMS, PAGE_ITEMS_DEFAULT, QUERY_PARAMETERS
from vapteke_shared.http import field_types, problems

CACHE_BUSTER: Final = "_"
"""The one unknown parameter that is ignored: jQuery and others add it to bypass caches."""
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_MISSING_PLUS = re.compile(r"(:\S+) (\d{2}(:?\d{2})?)$", re.ASCII)


def _digits(value: Any) -> int:
    if not _WHOLE.fullmatch(value):
        raise field_types.invalid_value("not_whole", "Write a whole number in digits")
    return int(value)


def _flag(value: Any) -> bool:
    if value not in ("true", "false"):
        raise field_types.invalid_value("not_a_flag", "This must be true or false")
    return bool(value == "true")


def _with_plus(value: Any) -> str:
    """Restore the plus sign of a UTC offset: a plus that the caller did not encode arrives as a space."""
    return _MISSING_PLUS.sub(r"\1+\2", value)


Digits = BeforeValidator(_digits)
Id = Annotated[int, Field(ge=1, le=INT64_MAX), Digits]
Distinct = AfterValidator(lambda each: sorted(set(each)))
Ids = Annotated[list[Id], Field(max_length=IDS_PER_REQUEST), Distinct]
Flag = Annotated[bool, BeforeValidator(_flag)]
Moment = Annotated[field_types.Moment, BeforeValidator(_with_plus)]


def optional(description: str, *examples: Any, **schema: Any) -> Any:
    return Field(None, description=description, examples=list(examples) or None, json_schema_extra=schema)


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Paging(Query):
    """The parameters that say which part of a list to read.

    Subclasses add filters. When a caller gives several filters, an item must match all of them.
    """

    limit: Annotated[int, Field(ge=1, le=PAGE_ITEMS), Digits] = Field(
        PAGE_ITEMS_DEFAULT, description="items per page", examples=[50]
    )
    offset: Annotated[int, Field(ge=0, le=INT64_MAX), Digits] = Field(0, description="rows to skip", examples=[0])

    def filters(self) -> dict[str, Any]:
        """The filters that the caller gave, by name. A flag that is false is not among them."""
        given = self.model_dump(exclude_unset=True, exclude=set(ListQuery.model_fields))
        return {name: value for name, value in given.items() if value is not False}


class ListQuery(Paging):
    """The parameters of a list with cursors."""

    cursor: str = optional("where the page begins, from the `Link` of the previous page; not together with `offset`")
    count: Flag = Field(True, description="false: omit `count`", examples=[True])


Q = TypeVar("Q", bound=Query)


def read(request: Request, kind: type[Q]) -> Q:
    """The query parameters of the request, validated as a `kind`. The unknown parameter `_` is ignored.

    Raises RequestValidationError (422), also for what FastAPI would accept: bytes that are not UTF-8, a repeated
    parameter that is not a list, and `cursor` together with `offset`.
    """
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS,
        )
    except UnicodeDecodeError:
        raise invalid_parameter("", "The parameters must be percent-encoded UTF-8") from None
    except ValueError:
        raise invalid_parameter("", f"There are more than {QUERY_PARAMETERS} parameters") from None
    given: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for name, value in pairs:
        if name not in kind.model_fields:
            unknown[name] = value
        elif _is_repeatable(kind, name):
            given.setdefault(name, []).append(value)
        elif name in given:
            raise invalid_parameter(name, "This parameter may be given only once")
        else:
            given[name] = value
    if "cursor" in given and "offset" in given:
        raise invalid_parameter("cursor", "The cursor already says where the page begins: omit offset")
    unknown.pop(CACHE_BUSTER, None)
    return _validated(kind, given, list(unknown))


def _is_repeatable(kind: type[Query], name: str) -> bool:
    field = kind.model_fields.get(name)
    return field is not None and get_origin(field.annotation) is list


def _validated(kind: type[Q], given: dict[str, Any], unknown: Sequence[str]) -> Q:
    faults: list[Any] = []
    try:
        read = kind.model_validate(given)
    except ValidationError as error:
        faults = [dict(fault) for fault in error.errors(include_input=False, include_url=False)]
    if unknown:
        location = unknown if len(unknown) == 1 else ()
        faults.append({"type": "unknown_fields", "loc": location, "msg": problems.unknown_fields(unknown)})
    if faults:
        raise RequestValidationError([{**fault, "loc": ("query", *fault["loc"])} for fault in faults])
    return read


def invalid_parameter(name: str, text: str) -> RequestValidationError:
    """The error to raise for the parameter of this name, or for the whole query when the name is empty.

    The caller of the service gets `text`, so it must not contain the value.
    """
    return RequestValidationError([{"type": "refused", "loc": ("query", name) if name else ("query",), "msg": text}])


def parameters(kind: type[Query]) -> dict[str, Any]:
    """The parameters of `kind` for a route's `openapi_extra`. A default of None is left out of the OpenAPI document."""
    properties = kind.model_json_schema()["properties"].items()
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": schema.pop("description"),
                "schema": {key: value for key, value in schema.items() if value is not None},
            }
            for name, schema in properties
        ]
    }
