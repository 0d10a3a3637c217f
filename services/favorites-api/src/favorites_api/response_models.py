"""The bodies of responses, for the OpenAPI document. The code that builds a response must give exactly these keys.

FastAPI does not check that. A field's description says if the key is absent in some responses. See docs/contract.md,
"Favorites".
"""

from typing import Literal

from pydantic import ConfigDict, Field
from vapteke_shared.http.body_models import Instant, ResponseModel, without_defaults


class Favorite(ResponseModel):
    """An item that a customer has marked."""

    id: int = Field(description="the favorite's own id", examples=[1])
    user_id: int = Field(description="the customer's id", examples=[14722])
    item_id: int = Field(description="the item's id", examples=[12])
    created_at: Instant | None = Field(
        description="when it was added; null in old records", examples=["2023-12-21T04:20:37.024Z"]
    )


class FavoriteList(ResponseModel):
    """One page of favorites."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    items: list[Favorite] = Field(description="the favorites on this page")
    count: int = Field(0, description="how many match the filters; absent with `count=false`", examples=[2])


class AddedFavorite(Favorite):
    """A favorite of the request, and whether it is new."""

    outcome: Literal["created", "existed"] = Field(description="whether it is new", examples=["created"])


class AddedFavorites(ResponseModel):
    """The favorites of all items in the request."""

    items: list[AddedFavorite] = Field(description="in the order of the items' ids")


class Checked(ResponseModel):
    """The items that are favorites of this customer."""

    item_ids: list[int] = Field(description="in the order of the request", examples=[[10, 12]])


class CountDeleted(ResponseModel):
    """How many favorites were deleted."""

    count_deleted: int = Field(description="favorites that existed and are now deleted", examples=[2])


class Deleted(ResponseModel):
    """The favorites are deleted."""

    success: Literal[True] = Field(True, description="always true: a failure is answered with a problem")
    message: None = Field(None, description="always null", examples=[None])
    data: CountDeleted = Field(description="how many were deleted")
