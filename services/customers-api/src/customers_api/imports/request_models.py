"""Request models of imports (docs/contract.md, "Imports")."""

from typing import Annotated, Final

from pydantic import Field
from vapteke_shared.contract.limits import INT32_MAX
from vapteke_shared.http.body_models import RequestModel
from vapteke_shared.http.field_types import Whole

from customers_api.imports.fields import ImportKind


class NewImport(RequestModel):
    """The import to start."""

    kind: ImportKind = Field(
        "full",
        description="`full` reads and applies the whole table; `changes` only the parts with changes; `compare` reads "
        "the whole table and only lists differences",
        examples=["full"],
    )


FULL: Final = NewImport()


class Approval(RequestModel):
    """Which deletions are approved."""

    count: Annotated[int, Whole] = Field(
        ge=0, le=INT32_MAX, description="how many customers may be deleted; if there are more, none is", examples=[500]
    )
