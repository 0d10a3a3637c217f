"""The base classes of request and response models. docs/contract.md fixes the keys of each body: add none."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from vapteke_shared.http import problems
from vapteke_shared.http.json_responses import instant

Instant = Annotated[
    datetime, PlainSerializer(instant, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]


def without_defaults(schema: dict[str, Any]) -> None:
    """Remove the defaults from `schema`, in place: a default of null would say that an absent field means null."""
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class ResponseModel(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class RequestModel(BaseModel):
    """The base class of request bodies, which rejects unknown fields and values of another type."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=without_defaults)

    @model_validator(mode="wrap")
    @classmethod
    def _known(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate a body, and report two or more unknown fields as one fault, after the faults of known fields.

        Otherwise pydantic would report one fault for each of thousands of unknown fields.
        """
        unknown = given.keys() - cls.model_fields.keys() if isinstance(given, dict) else ()
        if len(unknown) < 2:
            return validate(given)
        faults: list[InitErrorDetails] = []
        try:
            validate({name: value for name, value in given.items() if name not in unknown})
        except ValidationError as error:
            faults = [_fault(each["type"], each["msg"], *each["loc"]) for each in error.errors(include_url=False)]
        text = problems.unknown_fields([name for name in given if name in unknown])
        raise ValidationError.from_exception_data(cls.__name__, [*faults, _fault("unknown_fields", text)])


def _fault(kind: str, text: str, *location: int | str) -> InitErrorDetails:
    return {"type": PydanticCustomError(kind, text), "loc": location, "input": None}
