"""The shapes of bodies and answers (contract, section Favorites): they hold exactly these keys."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from vapteke_shared.contract.limits import IDS_PER_REQUEST, ITEMS_PER_CHECK
from vapteke_shared.http.body_models import Answer, Asked, Instant, without_defaults
from vapteke_shared.http.field_types import Id
from vapteke_shared.http.lists.query_parameters import Ids, ListQuery, Moment, Query, optional

UserId = Annotated[Id, Field(description="the customer's id", examples=[14722])]
ItemId = Annotated[Id, Field(description="the item's id", examples=[12])]
_AN_INSTANT = "2023-12-21T04:20:37.024Z"


class Favorite(Answer):
    """An item that a customer has marked."""

    id: int = Field(description="the favorite's own id", examples=[1])
    user_id: int = Field(description="the customer's id", examples=[14722])
    item_id: int = Field(description="the item's id", examples=[12])
    created_at: Instant | None = Field(description="when it was added; null in old records", examples=[_AN_INSTANT])


class FavoriteList(Answer):
    """One page of favorites."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    items: list[Favorite] = Field(description="the page")
    count: int = Field(0, description="all that meet the filters; not with `count=false`", examples=[2])


class FavoriteQuery(ListQuery):
    id: Ids = optional("one of these ids, up to 1,000 of them: `id=1&id=2`", [1, 2])
    user_id: Ids = optional("of one of these customers: `user_id=14738&user_id=14722`", [14738, 14722])
    item_id: Ids = optional("one of these items: `item_id=10&item_id=12`", [10, 12])
    created_at: Moment = optional("added at this instant, to the millisecond, as an answer shows it", _AN_INSTANT)
    created_at_from: Moment = optional("added at this instant or later", _AN_INSTANT)
    created_at_to: Moment = optional("added at this instant or earlier", _AN_INSTANT)


class NewFavorite(Asked):
    """Who marks what."""

    user_id: UserId
    item_id: ItemId


class FavoriteIds(Asked):
    """Which favorites."""

    id: list[Id] = Field(max_length=IDS_PER_REQUEST, description="the favorites' ids", examples=[[1, 2, 3]])


class DeletedQuery(Query):
    """For clients and proxies that drop the body of a DELETE."""

    id: Ids = optional("the favorites' ids, up to 1,000: `id=1&id=2`; instead of the body", [1, 2])


class CountDeleted(Answer):
    """How many there were."""

    count_deleted: int = Field(description="only those that existed count", examples=[2])


class Deleted(Answer):
    """They are gone."""

    success: Literal[True] = Field(True, description="always true: what fails is a problem")
    message: None = Field(None, description="always null", examples=[None])
    data: CountDeleted = Field(description="how many there were")


class FavoriteCheck(Asked):
    """Whose, and which items."""

    user_id: UserId
    item_ids: list[ItemId] = Field(
        max_length=ITEMS_PER_CHECK, description="the items that are shown", examples=[[10, 11, 12]]
    )


class Checked(Answer):
    """Those of the items that are this user's favorites."""

    item_ids: list[int] = Field(description="in the order in which they were asked for", examples=[[10, 12]])


class NewFavorites(Asked):
    """Who marks which items."""

    user_id: UserId
    item_ids: list[ItemId] = Field(
        min_length=1,
        max_length=IDS_PER_REQUEST,
        description="the items; one that is named twice counts once",
        examples=[[10, 12]],
    )


class AddedFavorite(Favorite):
    """What became of one item."""

    outcome: Literal["created", "existed"] = Field(description="whether it is new", examples=["created"])


class AddedFavorites(Answer):
    """The favorites of all items that were named."""

    items: list[AddedFavorite] = Field(description="in the order of the items' ids")
