"""Tables of customers, their phones and first names.

Personal columns are nullable, so that a person can be erased while the row stays.
"""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Index,
    Text,
    literal_column,
    text,
)
from sqlmodel import Field, SQLModel
from vapteke_shared.postgres.tables import INSTANT, NOW, identity

from customers_api.schema import SCHEMA, Table

_ACTIVE = text("deleted_at IS NULL")


def _by_folded(name: str, column: str, **options: Any) -> Index:
    """An index on a text column. It ignores case and sorts by code point, so texts with one prefix are neighbours.

    Postgres uses the index only for conditions on `folded(column)`. `options` are those of `Index`.
    """
    folded = literal_column(f"{SCHEMA.name}.folded({column})", Text()).label("folded")
    return Index(name, folded, postgresql_ops={"folded": "text_pattern_ops"}, **options)


class PhoneRow(Table, table=True):
    """A phone: one row per number, which is never deleted. Postgres sets `digits`: code and number together."""

    __tablename__ = "phones"

    id: int = Field(sa_column=identity())
    code: str = Field(sa_type=Text)
    number: str = Field(sa_type=Text)
    digits: str = Field(sa_column=Column(Text, Computed("code || number", persisted=True), unique=True))


class FirstnameRow(Table, table=True):
    __tablename__ = "firstnames"
    __table_args__ = (
        # for prefixes; the included columns allow index-only scans
        _by_folded("firstnames_folded_idx", "name", postgresql_include=["name", "id"]),
    )

    id: int = Field(sa_column=identity())
    name: str = Field(sa_type=Text, unique=True)


class ProfileColumns(SQLModel):
    """The columns that a customer's row and a mirror row have in common. `COLUMNS` lists them in this order.

    The first name is not among them: a mirror row stores the name itself, and a customer's row stores the name's id.
    """

    lastname: str | None = Field(None, sa_type=Text)
    email: str | None = Field(None, sa_type=Text)
    birthday: date | None = Field(None, sa_type=Date)
    gender: str | None = Field(None, sa_type=Text)
    city_id: int | None = Field(None, sa_type=BigInteger)
    last_auth_at: datetime | None = Field(None, sa_type=INSTANT)


COLUMNS: Final = tuple(ProfileColumns.model_fields)
FIELDS: Final = ("firstname", *COLUMNS)
"""The names of a customer's fields without the phone. SQL and Python use this list instead of repeating the names."""


class CustomerRow(ProfileColumns, Table, table=True):
    """A registered customer, active or deleted.

    `phone_from` says who set the phone: `api` or `import`. It is null if there is no phone. A deleted customer keeps
    both values but does not hold the phone: another customer may have the same `phone_id`. `deleted_by` is `import` if
    the customer was deleted because its legacy row is gone, and null otherwise. Ignore it in an active customer: a
    process of the previous release does not clear it when it restores.
    """

    __tablename__ = "customers"
    __table_args__ = (
        # a phone has one active customer at most
        Index("customers_living_phone_key", "phone_id", unique=True, postgresql_where=_ACTIVE),
        Index("customers_living_id_idx", "id", postgresql_where=_ACTIVE),
        Index("customers_phoneless_idx", "id", postgresql_where=text("deleted_at IS NULL AND phone_id IS NULL")),
        # the filters of the list; deleted_at allows counting by index-only scans
        _by_folded("customers_email_idx", "email"),
        _by_folded("customers_lastname_idx", "lastname"),
        Index("customers_firstname_id_idx", "firstname_id", "deleted_at"),
        Index("customers_city_id_idx", "city_id", "deleted_at"),
        Index("customers_birthday_idx", "birthday", "gender", "deleted_at"),
        Index("customers_deleted_phone_id_idx", "phone_id", postgresql_where=text("deleted_at IS NOT NULL")),
        # every update changes it: a btree would prevent HOT updates, this summary of each page does not
        Index(
            "customers_updated_at_idx", "updated_at", postgresql_using="brin", postgresql_with={"pages_per_range": 1}
        ),
        CheckConstraint("phone_from IN ('api', 'import')", name="phone_from"),
        CheckConstraint("gender IN ('M', 'F')", name="gender"),
        CheckConstraint("city_id >= 0", name="city_id"),
        # room for HOT updates: the import updates no indexed column but the phone
        {"postgresql_with": {"fillfactor": 85}},
    )

    id: int = Field(sa_column=identity())
    phone_id: int | None = Field(None, sa_type=BigInteger, foreign_key="customers.phones.id")
    phone_from: str | None = Field(None, sa_type=Text)
    firstname_id: int | None = Field(None, sa_type=BigInteger, foreign_key="customers.firstnames.id")
    version: int = Field(1, sa_type=BigInteger)
    created_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    updated_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    deleted_at: datetime | None = Field(None, sa_type=INSTANT)
    deleted_by: str | None = Field(None, sa_type=Text)


class CustomerCountRow(Table, table=True):
    """A change in the numbers of active (`living`) and deleted customers. Each number is the sum over all rows.

    Triggers insert the rows; `queries.fold_counts` merges them.
    """

    __tablename__ = "customer_counts"

    id: int = Field(sa_column=identity())
    living: int = Field(sa_type=BigInteger)
    deleted: int = Field(sa_type=BigInteger)


class RepublicationRow(Table, table=True):
    """A run of `events republish`. It sends the customers up to id `upto_id`, and has sent those up to `last_id`.

    If `finished_at` is null, the run is in progress or interrupted. An abandoned run has no row.
    """

    __tablename__ = "republications"

    id: int = Field(sa_column=identity())
    started_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
    finished_at: datetime | None = Field(None, sa_type=INSTANT)
    upto_id: int = Field(sa_type=BigInteger)
    last_id: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    sent: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    total: int = Field(sa_type=BigInteger)
