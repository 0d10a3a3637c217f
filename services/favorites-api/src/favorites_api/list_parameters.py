"""The query parameters of the list of favorites, and of a deletion without a body."""

from vapteke_shared.http.lists.query_parameters import Ids, ListQuery, Moment, Query, optional

_AN_INSTANT = "2023-12-21T04:20:37.024Z"


class FavoriteQuery(ListQuery):
    id: Ids = optional("one of these ids, up to 1,000: `id=1&id=2`", [1, 2])
    user_id: Ids = optional("of one of these customers: `user_id=14738&user_id=14722`", [14738, 14722])
    item_id: Ids = optional("one of these items: `item_id=10&item_id=12`", [10, 12])
    created_at: Moment = optional("added at this instant, to the millisecond, as a response shows it", _AN_INSTANT)
    created_at_from: Moment = optional("added at this instant or later", _AN_INSTANT)
    created_at_to: Moment = optional("added at this instant or earlier", _AN_INSTANT)


class DeletedQuery(Query):
    """The query of a deletion without a body, for clients and proxies that drop the body of a DELETE."""

    id: Ids = optional("ids of the favorites to delete, up to 1,000: `id=1&id=2`; instead of a body", [1, 2])
