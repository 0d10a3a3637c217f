"""What the bodies of requests and answers are made of; they hold exactly the keys of the contract."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from vapteke_shared.answers import instant

Instant = Annotated[
    datetime, PlainSerializer(instant, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]


def without_defaults(schema: dict[str, Any]) -> None:
    """An absent field is not the same as null."""
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Asked(BaseModel):
    """A body: strict types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra=without_defaults)
