"""The events of customers, for everybody: the full state of a customer after each change.

These classes are the contract. customers-api builds its messages from them:
services/customers-api/src/customers_api/customers/customer_events.py.
"""

from datetime import date
from typing import Annotated, Final, Literal

from msgspec import Meta

from vapteke_shared.contract.events.event import Count, Digits, Event, Instant, field_name
from vapteke_shared.contract.limits import INT64_MAX

CHANGED_FIELDS: Final = (
    "phone",
    "firstname",
    "lastname",
    "email",
    "birthday",
    "gender",
    "city_id",
    "last_auth_at",
    "deleted_at",
)
ChangedField = Annotated[str, field_name(CHANGED_FIELDS)]


class CustomerEvent(Event, kw_only=True):
    """The full state of a customer after a change. Act on the state, never on the event's type alone.

    Compaction may remove events, so gaps in `version` are normal; ignore an event that is not newer than your state.
    A deleted customer has a `deleted_at` and keeps its last phone, which may belong to another customer by now.
    """

    id: Annotated[
        int, Meta(ge=1, le=INT64_MAX, description="the customer's id, which is also the record's key", examples=[14722])
    ]
    version: Annotated[int, Meta(ge=1, le=INT64_MAX, description="grows by one with each change", examples=[3])]
    origin: Annotated[Literal["api", "import"], Meta(description="what caused the change", examples=["api"])]
    changed: Annotated[
        list[ChangedField],
        Meta(description="the fields that differ from the previous version", examples=[["firstname", "city_id"]]),
    ]
    phone: Annotated[Digits | None, Meta(description="code and number together", examples=["79025163111"])]
    firstname: Annotated[str | None, Meta(description="first name", examples=["Виктор"])]
    lastname: Annotated[str | None, Meta(description="last name", examples=["Иванов"])]
    email: Annotated[str | None, Meta(description="e-mail address", examples=["user@example.com"])]
    birthday: Annotated[date | None, Meta(description="date of birth", examples=["1980-12-21"])]
    gender: Annotated[Literal["M", "F"] | None, Meta(description="gender", examples=["M"])]
    city_id: Annotated[Count | None, Meta(description="the city's number", examples=[0])]
    last_auth_at: Annotated[Instant | None, Meta(description="the last sign-in", examples=["2023-12-21T04:20:37.024Z"])]
    created_at: Annotated[
        Instant, Meta(description="when the customer was created", examples=["2023-12-21T04:20:37.024Z"])
    ]
    updated_at: Annotated[Instant, Meta(description="when this change was made", examples=["2026-01-02T03:04:05.678Z"])]
    deleted_at: Annotated[Instant | None, Meta(description="null: the customer is not deleted", examples=[None])]


class CustomerCreated(CustomerEvent):
    """A customer was created. `changed` names every field that has a value."""

    type = "vapteke.customer.created"


class CustomerUpdated(CustomerEvent):
    """Fields of a customer have changed, but not the phone."""

    type = "vapteke.customer.updated"


class CustomerPhoneChanged(CustomerEvent):
    """A customer got another phone or lost its phone; other fields may have changed too."""

    type = "vapteke.customer.phone_changed"


class CustomerDeleted(CustomerEvent):
    """A customer was deleted. It keeps its fields and can be restored."""

    type = "vapteke.customer.deleted"


class CustomerRestored(CustomerEvent):
    """A customer was restored; if its phone changed owner, `phone` differs or is null, and `changed` names it."""

    type = "vapteke.customer.restored"


CUSTOMERS: tuple[type[Event], ...] = (
    CustomerCreated,
    CustomerUpdated,
    CustomerPhoneChanged,
    CustomerDeleted,
    CustomerRestored,
)
