"""What the rules of an import compare and decide on: incoming rows, mirror rows and customers. Phones are digits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

from msgspec import Struct

from customers_api.customers.customer_events import Kind
from customers_api.customers.tables import FIELDS
from customers_api.imports.decoding import LegacyEvent

Class = Literal["created", "updated", "unchanged", "skipped", "rejected"]
"""The class in which an import counts a row."""
CLASSES: Final[tuple[Class, ...]] = get_args(Class)
Values = tuple[Any, ...]
"""A value for each of FIELDS, in that order."""

BIRTHDAY: Final = FIELDS.index("birthday")
LAST_AUTH_AT: Final = FIELDS.index("last_auth_at")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Incoming(NamedTuple):
    """An event, and the partition of its record."""

    partition: int
    event: LegacyEvent


class Mirror(NamedTuple):
    """A mirror row, that is, what was last applied of a legacy row; and facts about its customer.

    The facts are read before the customer is locked, so they may be out of date: `decide` checks them again.

    `counted_as` is the class in which the current import has counted the row. It is None if this import has not written
    the row yet. `is_gone` tells whether the row is marked as gone from vAptekeSync. `customer_is_deleted` is None if
    the customer does not exist, and False for a customer who will be restored because the row has returned.
    """

    customer_id: int
    phone: str | None
    values: Values
    read_at: datetime
    number: int | None
    counted_as: Class | None
    customer_phone: str | None
    customer_last_auth_at: datetime | None
    customer_is_deleted: bool | None
    is_gone: bool = False


Settled = tuple[Any, ...]
"""The phone and the values of a settled mirror row. A reading with the same phone and values changes nothing.

A mirror row is settled if its customer is active, this import has not written the row yet, it is not marked as gone,
and neither the row nor its customer has a sign-in in the future.
"""


class Context(NamedTuple):
    """What the rows of a batch share. `now` is Postgres' clock at the beginning of the transaction.

    `read_later` has, by legacy id, the latest `read_at` of the other attempts at the same range that have read the row.
    """

    import_id: UUID
    now: datetime
    read_later: Mapping[int, datetime]

    @property
    def tomorrow(self) -> datetime:
        """A day after `now`. A later sign-in is unusable. Up to a day is accepted: vAptekeSync's clock may be ahead."""
        return self.now + timedelta(days=1)


class AppliedRow(Struct):
    """A legacy row that is to be applied. `phone` and `values` are what its mirror row will hold after that.

    `index` is the row's index among the compared rows. `customer_id` is 0 until `decide` sets it for a new row.
    `joins`: the row is new and belongs to a customer whom the API created.
    """

    index: int
    event: LegacyEvent
    mirror: Mirror | None
    phone: str | None
    values: Values
    customer_id: int = 0
    joins: bool = False

    @property
    def is_new(self) -> bool:
        return self.mirror is None

    @property
    def changes_claim(self) -> bool:
        """Whether the row is new, or its phone or sign-in differs from the mirror's. Then its phones are decided."""
        mirror = self.mirror
        if mirror is None or self.phone != mirror.phone:
            return True
        return bool(self.values[LAST_AUTH_AT] != mirror.values[LAST_AUTH_AT])


class LoadedCustomer(Struct):
    """A customer as it was loaded, or as it is after the batch. Without `deleted_at` it is active.

    `legacy_id` and the `named_` fields are of its mirror row before the batch; they are None if it has none.
    """

    id: int
    version: int
    phone: str | None
    phone_from: Literal["api", "import"] | None
    values: Values
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    legacy_id: int | None = None
    named_phone: str | None = None
    named_last_auth_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        return self.deleted_at is None


class Locked(NamedTuple):
    """What was locked to decide on a batch, and read after that."""

    phone_ids: Mapping[str, int]
    """The phones whose holder is decided, with their ids."""
    customers: Mapping[int, LoadedCustomer]
    """By id: the customers of the rows, and all customers that hold or name one of these phones."""
    at: datetime
    """The time of the batch's changes: Postgres' clock after the locks."""
    new_ids: Sequence[int]
    """An id for each new row."""


class Claim(NamedTuple):
    """The claim of a legacy row on the phone that it names.

    Of several claims on a phone the greatest wins: the latest sign-in, then the greatest legacy id.
    """

    last_auth_at: datetime
    legacy_id: int
    customer_id: int
    phone: str


def claim(phone: str, last_auth_at: datetime | None, legacy_id: int, customer_id: int) -> Claim:
    return Claim(last_auth_at or _NEVER, legacy_id, customer_id, phone)


class Comparison(NamedTuple):
    """The class of each compared row, in their order, and the rows to apply."""

    classes: list[Class]
    rows: list[AppliedRow]


class CustomerChange(NamedTuple):
    """A created or changed customer as it is after the batch, and the names of the fields that differ."""

    kind: Kind
    fields: list[str]
    customer: LoadedCustomer


class Decision(NamedTuple):
    """What a batch writes. `classes` has the class of each compared row, and `rows` are written to the mirror.

    `losers` lose their phone before other customers are written, because a phone has one active holder. `accepted` are
    customers who keep the phone that the API gave them. From now on this phone counts as imported, and no event is sent
    for that.
    """

    classes: list[Class]
    rows: list[AppliedRow]
    losers: list[int]
    accepted: list[int]
    created: list[CustomerChange]
    changed: list[CustomerChange]
