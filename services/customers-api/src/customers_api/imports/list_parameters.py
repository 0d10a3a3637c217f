"""Query parameters of the lists of imports and of rejections."""

from typing import Annotated

from pydantic import Field, StringConstraints
from vapteke_shared.contract.limits import IDS_PER_REQUEST, INT64_MAX, INT64_MIN, REASON_CHARACTERS
from vapteke_shared.http.lists import query_parameters
from vapteke_shared.http.lists.query_parameters import Digits, Distinct, Paging, optional

from customers_api.imports.fields import DeletionStatus, Difference, ImportKind, Kind, RowOutcome, Status

Statuses = Annotated[list[Status], Distinct]
ImportKinds = Annotated[list[ImportKind], Distinct]
Differences = Annotated[list[Difference], Distinct]
RowOutcomes = Annotated[list[RowOutcome], Distinct]
DeletionStatuses = Annotated[list[DeletionStatus], Distinct]
Word = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9_]{{1,{REASON_CHARACTERS}}}$")]
LegacyIds = Annotated[
    list[Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX), Digits]],
    Field(max_length=IDS_PER_REQUEST),
    Distinct,
]


class ImportQuery(Paging):
    """Filters can be combined."""

    kind: ImportKinds = optional("imports of this kind: `kind=full`, repeatable", ["full"])
    status: Statuses = optional("in one of these states: `status=failed&status=cancelled`", ["failed", "cancelled"])
    deletions: DeletionStatuses = optional(
        "imports that have rows with a deletion in one of these states: `deletions=withheld`", ["withheld"]
    )
    requested_from: query_parameters.Moment = optional("requested at this time or later", "2026-01-01T00:00:00Z")
    requested_to: query_parameters.Moment = optional("requested at this time or earlier", "2026-02-01T00:00:00Z")


class RejectionQuery(Paging):
    """Filters can be combined."""

    kind: Kind = optional("rejections of this kind", "field")
    field: Word = optional("rejections of this field", "email")
    reason: Word = optional("rejections for this reason", "not_an_address")
    legacy_id: LegacyIds = optional("rejections of these legacy rows: `legacy_id=3049`, repeatable", [3049, 3050])
    customer_id: query_parameters.Ids = optional("rejections of these customers: `customer_id=1`, repeatable", [14722])


class DeletionQuery(Paging):
    """Filters can be combined."""

    status: DeletionStatuses = optional("deletions in one of these states: `status=withheld`", ["withheld"])


class RowQuery(Paging):
    """Filters can be combined."""

    outcome: RowOutcomes = optional("rows with one of these outcomes: `outcome=absent`, repeatable", ["rejected"])


class DifferenceQuery(Paging):
    """Filters can be combined."""

    difference: Differences = optional("differences of these kinds: `difference=gone`, repeatable", ["would_update"])
    legacy_id: LegacyIds = optional("differences of these legacy rows: `legacy_id=3049`, repeatable", [3049, 3050])
    customer_id: query_parameters.Ids = optional("differences of these customers: `customer_id=1`, repeatable", [14722])
