"""The bodies of requests (docs/contract.md, "Favorites")."""

from typing import Annotated

from pydantic import Field
from vapteke_shared.contract.limits import IDS_PER_REQUEST, ITEMS_PER_CHECK
from vapteke_shared.http.body_models import RequestModel
from vapteke_shared.http.field_types import Id

UserId = Annotated[Id, Field(description="the customer's id", examples=[14722])]
ItemId = Annotated[Id, Field(description="the item's id", examples=[12])]


class NewFavorite(RequestModel):
    """A favorite to add."""

    user_id: UserId
    item_id: ItemId


class NewFavorites(RequestModel):
    """Favorites of one customer to add."""

    user_id: UserId
    item_ids: list[ItemId] = Field(
        min_length=1,
        max_length=IDS_PER_REQUEST,
        description="the items; a repeated one counts once",
        examples=[[10, 12]],
    )


class FavoriteCheck(RequestModel):
    """A customer, and the items to check."""

    user_id: UserId
    item_ids: list[ItemId] = Field(
        max_length=ITEMS_PER_CHECK, description="the items to check", examples=[[10, 11, 12]]
    )


class FavoriteIds(RequestModel):
    """Favorites to delete."""

    id: list[Id] = Field(max_length=IDS_PER_REQUEST, description="the favorites' ids", examples=[[1, 2, 3]])
