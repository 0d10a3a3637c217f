"""What the tables of all services share: a schema per service, naming conventions, ids, and the stored offsets."""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Column, DateTime, Identity, Integer, MetaData, Text, Uuid, text
from sqlmodel import Field, SQLModel

INSTANT: Final = DateTime(timezone=True)
NOW: Final = {"server_default": text("now()")}


class Schema:
    """The schema of a service in Postgres. `service` is the name of its command, such as `customers-api`.

    `metadata` has the tables. The migrations are in the folder `migrations` of the service's Python package.
    """

    def __init__(self, name: str, service: str) -> None:
        self.name, self.service = name, service
        self.package = service.replace("-", "_")
        self.metadata = MetaData(
            schema=name,
            naming_convention={
                "ix": "%(table_name)s_%(column_0_N_name)s_idx",
                "uq": "%(table_name)s_%(column_0_N_name)s_key",
                "ck": "%(table_name)s_%(constraint_name)s_check",
                "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
                "pk": "%(table_name)s_pkey",
            },
        )


def identity() -> Any:
    return Column(BigInteger, Identity(always=False), primary_key=True)


class StoredOffset(SQLModel):
    """The columns of `consumed_offsets`, for the table of each service: how far its consumers have applied a partition.

    `next_offset` is the offset after the last applied record. It is stored in the same transaction as the effect of the
    records.
    """

    topic: str = Field(sa_type=Text, primary_key=True)
    partition: int = Field(sa_type=Integer, primary_key=True, sa_column_kwargs={"autoincrement": False})
    next_offset: int = Field(sa_type=BigInteger)
    cluster_id: str = Field(sa_type=Text)
    topic_id: UUID | None = Field(None, sa_type=Uuid)
    """The id of the topic. Null: stored by an older release; the consumer then stores the current id."""
