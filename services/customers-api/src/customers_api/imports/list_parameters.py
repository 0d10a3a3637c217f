"""What lists of imports and of rejections can be filtered by."""

from typing import Annotated

from pydantic import Field, StringConstraints
from vapteke_shared.contract.limits import IDS_PER_REQUEST, INT64_MAX, INT64_MIN, REASON_CHARACTERS
from vapteke_shared.http.lists import query_parameters
from vapteke_shared.http.lists.query_parameters import Digits, Distinct, Paging, optional

from customers_api.imports.fields import Kind, Status

Statuses = Annotated[list[Status], Distinct]
Word = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9_]{{1,{REASON_CHARACTERS}}}$")]
LegacyIds = Annotated[
    list[Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX), Digits]],
    Field(max_length=IDS_PER_REQUEST),
    Distinct,
]


class ImportQuery(Paging):
    """The filters can be combined."""

    status: Statuses = optional("in one of these states: `status=failed&status=cancelled`", ["failed", "cancelled"])
    requested_from: query_parameters.Moment = optional("asked for at this instant or later", "2026-01-01T00:00:00Z")
    requested_to: query_parameters.Moment = optional("asked for at this instant or earlier", "2026-02-01T00:00:00Z")


class RejectionQuery(Paging):
    """The filters can be combined."""

    kind: Kind = optional("of this kind", "field")
    field: Word = optional("of this field", "email")
    reason: Word = optional("for this reason", "not_an_address")
    legacy_id: LegacyIds = optional("of one of these rows: `legacy_id=3049&legacy_id=3050`", [3049, 3050])
    customer_id: query_parameters.Ids = optional("of one of these customers: `customer_id=1&customer_id=2`", [14722])
