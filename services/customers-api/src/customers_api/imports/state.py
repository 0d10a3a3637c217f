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
    """A mirror row, that is, what was last applied of a legacy row; and its customer as it was before it is locked.

    `counted_as` is the class in which this import has counted the row; None if it has not written it yet.
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


class Context(NamedTuple):
    """What the rows of a batch share. `now` is Postgres' clock at the beginning of the transaction.

    `read_later` has the rows that another attempt at the same key range has read, with its latest `read_at`.
    """

    import_id: UUID
    now: datetime
    read_later: Mapping[int, datetime]

    @property
    def tomorrow(self) -> datetime:
        """A sign-in after this instant is wrong. A day is allowed: a clock that far ahead has caused a warning."""
        return self.now + timedelta(days=1)


class AppliedRow(Struct):
    """A legacy row that is applied. `phone` and `values` are what its mirror row holds from now on.

    `index` is its index in the batch. `joins`: it is new and belongs to a customer whom the API created.
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
        """Whether the row changes who may hold a phone."""
        mirror = self.mirror
        if mirror is None or self.phone != mirror.phone:
            return True
        return bool(self.values[LAST_AUTH_AT] != mirror.values[LAST_AUTH_AT])


class LoadedCustomer(Struct):
    """A customer, with the phone and sign-in of its mirror row. Without `deleted_at` it is active."""

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
    """Postgres' clock."""
    new_ids: Sequence[int]
    """An id for each new row."""


class Claim(NamedTuple):
    """A legacy row names a phone. Of several claims the greatest wins: the latest sign-in, then the greatest key."""

    last_auth_at: datetime
    legacy_id: int
    customer_id: int
    phone: str


def claim(phone: str, last_auth_at: datetime | None, legacy_id: int, customer_id: int) -> Claim:
    return Claim(last_auth_at or _NEVER, legacy_id, customer_id, phone)


class Comparison(NamedTuple):
    """The class of each row of the batch, and the rows that change something."""

    classes: list[Class]
    rows: list[AppliedRow]


class CustomerChange(NamedTuple):
    """A customer as it is after the batch, and the fields that have changed."""

    kind: Kind
    fields: list[str]
    customer: LoadedCustomer


class Decision(NamedTuple):
    """What a batch writes. `rows` are written to the mirror.

    `losers` lose their phone, which is written first: a phone has one active holder. `accepted` are customers who keep
    the phone that the API gave them; from now on it counts as imported. No event is sent for that.
    """

    classes: list[Class]
    rows: list[AppliedRow]
    losers: list[int]
    accepted: list[int]
    created: list[CustomerChange]
    changed: list[CustomerChange]
