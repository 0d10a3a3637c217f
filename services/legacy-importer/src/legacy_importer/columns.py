"""The legacy table's columns: their names, and the SQL Server types from which each field can be read."""

from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator
from vapteke_shared.process.settings import Text

INTEGERS: Final = ("tinyint", "smallint", "int", "bigint")
TEXTS: Final = ("char", "varchar", "nchar", "nvarchar", "text", "ntext")
_DATES: Final = ("date", "smalldatetime", "datetime", "datetime2", "datetimeoffset")
_EXACT: Final = ("decimal", "numeric", "money")
_NUMBERS: Final = (*INTEGERS, *_EXACT, "smallmoney", "float", "real")


class OfType(NamedTuple):
    """The SQL Server types that the column of a field may have."""

    types: tuple[str, ...]


class Columns(BaseModel):
    """The name of the legacy table's column for each of our fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _names_are_known(cls, columns: Any) -> Any:
        unknown = sorted(set(columns) - set(cls.model_fields)) if isinstance(columns, dict) else []
        if unknown:
            raise ValueError(f"unknown name {', '.join(unknown)}; use {', '.join(cls.model_fields)}")
        return columns

    id: Annotated[Text, OfType(INTEGERS)] = "ID"
    # the other types cannot hold eleven digits
    phone: Annotated[Text, OfType((*TEXTS, "bigint", *_EXACT, "float"))] = "Phone"
    firstname: Annotated[Text, OfType(TEXTS)] = "FirstName"
    lastname: Annotated[Text, OfType(TEXTS)] = "LastName"
    email: Annotated[Text, OfType(TEXTS)] = "Email"
    birthday: Annotated[Text, OfType((*_DATES, *TEXTS))] = "Birthday"
    gender: Annotated[Text, OfType((*TEXTS, "bit", *_NUMBERS))] = "Gender"
    city_id: Annotated[Text, OfType(_NUMBERS)] = "CityID"
    last_auth_at: Annotated[Text, OfType((*_DATES, *TEXTS))] = "LastAuthAt"


ALLOWED_TYPES: Final = {
    name: each.types
    for name, field in Columns.model_fields.items()
    for each in field.metadata
    if isinstance(each, OfType)
}
"""The SQL Server types that the column of each field may have, by field."""
