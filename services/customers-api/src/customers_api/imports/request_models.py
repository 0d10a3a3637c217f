"""Request models of imports (docs/contract.md, "Imports")."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Body
from pydantic import Discriminator, Field, Tag
from vapteke_shared.contract.limits import INT32_MAX, INT64_MAX, INT64_MIN, ROWS_PER_TASK
from vapteke_shared.http.body_models import RequestModel
from vapteke_shared.http.field_types import Id, Whole

from customers_api.customers.fields import PhoneText
from customers_api.imports.fields import TableKind
from customers_api.imports.list_parameters import Word


class NewImport(RequestModel):
    """The import to start."""

    kind: TableKind = Field(
        "full",
        description="`full` reads and applies the whole table; `changes` only the parts with changes; `compare` reads "
        "the whole table and only lists differences",
        examples=["full"],
    )


FULL: Final = NewImport()


class _Rows(RequestModel):
    kind: Literal["rows"] = Field(description="only single rows are read and applied", examples=["rows"])


class RowsByLegacyIds(_Rows):
    """Reads these rows."""

    legacy_ids: list[Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX), Whole]] = Field(
        min_length=1,
        max_length=ROWS_PER_TASK,
        description="the rows' keys in vAptekeSync",
        examples=[[3049, 3050]],
    )


class RowsByCustomerIds(_Rows):
    """Reads the rows of these customers."""

    customer_ids: list[Id] = Field(
        min_length=1, max_length=ROWS_PER_TASK, description="the customers' ids", examples=[[14722]]
    )


class RowsByPhones(_Rows):
    """Reads the rows that name these phones, and those of the customers who have them."""

    phones: list[PhoneText] = Field(
        min_length=1, max_length=ROWS_PER_TASK, description="phones, in any spelling", examples=[["+7 902 516-31-11"]]
    )


class RowsRejectedIn(_Rows):
    """Reads the rows that an import rejected or repaired."""

    rejected_in: Annotated[UUID, Field(strict=False)] = Field(
        description="the import's id", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"]
    )
    field: Word | None = Field(None, description="only rejections of this field", examples=["email"])
    reason: Word | None = Field(None, description="only rejections for this reason", examples=["not_an_address"])


NewRows = RowsByLegacyIds | RowsByCustomerIds | RowsByPhones | RowsRejectedIn
_NAMES: Final = ("legacy_ids", "customer_ids", "phones", "rejected_in")


def _form(body: Any) -> str | None:
    """The tag of the request model that validates the body. None: it names rows in no way, or in several."""
    fields = body if isinstance(body, dict) else {}
    if fields.get("kind") != "rows":
        return "(table)"
    named = [name for name in _NAMES if name in fields]
    return f"({named[0]})" if len(named) == 1 else None


AnyImport = Annotated[
    Annotated[NewImport, Tag("(table)")]
    | Annotated[RowsByLegacyIds, Tag("(legacy_ids)")]
    | Annotated[RowsByCustomerIds, Tag("(customer_ids)")]
    | Annotated[RowsByPhones, Tag("(phones)")]
    | Annotated[RowsRejectedIn, Tag("(rejected_in)")],
    Discriminator(
        _form,
        custom_error_type="rows_not_named",
        custom_error_message="Send kind rows with exactly one of legacy_ids, customer_ids, phones and rejected_in",
    ),
    Body(description="the import to start; a full one without a body"),
]


class Approval(RequestModel):
    """Which deletions are approved."""

    count: Annotated[int, Whole] = Field(
        ge=0, le=INT32_MAX, description="how many customers may be deleted; if there are more, none is", examples=[500]
    )
