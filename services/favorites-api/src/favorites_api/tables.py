"""The tables of schema `favorites`."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, Index, MetaData, text
from sqlmodel import Field, SQLModel
from vapteke_shared.postgres.tables import INSTANT, Schema, StoredOffset, identity

SCHEMA = Schema("favorites", service="favorites-api")


class Table(SQLModel):
    metadata: ClassVar[MetaData] = SCHEMA.metadata


class FavoriteRow(Table, table=True):
    """An item that a customer has marked. `created_at` is null in old records."""

    __tablename__ = "favorites"
    # The included columns allow index-only scans, which count a popular item's favorites ten times as fast.
    __table_args__ = (
        Index("favorites_user_id_key", "user_id", "item_id", unique=True, postgresql_include=["id", "created_at"]),
        Index("favorites_item_id_idx", "item_id", "id", postgresql_include=["user_id", "created_at"]),
        Index("favorites_created_at_idx", "created_at"),
    )

    id: int = Field(sa_column=identity())
    user_id: int = Field(sa_type=BigInteger)
    item_id: int = Field(sa_type=BigInteger)
    created_at: datetime | None = Field(
        None, sa_type=INSTANT, sa_column_kwargs={"server_default": text("date_trunc('milliseconds', now())")}
    )


class FavoriteCountRow(Table, table=True):
    """How much one statement changed the number of favorites, or the sum of several such rows.

    The sum of all rows is the number of favorites, hidden ones included.
    """

    __tablename__ = "favorite_counts"

    id: int = Field(sa_column=identity())
    favorites: int = Field(sa_type=BigInteger)


class DeletedCustomerRow(Table, table=True):
    """A customer that was deleted, restored or erased at some time. `deleted_at` is null after a restoration.

    `version` is that of the newest event stored here. An erased customer has the greatest version that fits.
    """

    __tablename__ = "deleted_customers"
    # erased customers
    __table_args__ = (
        Index("deleted_customers_erased_idx", "customer_id", postgresql_where=text("version = 9223372036854775807")),
    )

    customer_id: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    version: int = Field(sa_type=BigInteger)
    deleted_at: datetime | None = Field(None, sa_type=INSTANT)


class StoredOffsetRow(Table, StoredOffset, table=True):
    __tablename__ = "consumed_offsets"
