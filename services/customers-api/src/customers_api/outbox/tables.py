"""The table of the outbox."""

from datetime import datetime

from sqlalchemy import LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field
from vapteke_shared.postgres.tables import INSTANT, NOW, identity

from customers_api.schema import Table


class OutboxRow(Table, table=True):
    """A message that the relay has not sent, or has sent and not yet deleted.

    The committed messages of a topic are sent in the order of `id`. A transaction that commits later may still add a
    lower `id`, which is then sent later.
    """

    __tablename__ = "outbox"
    # vacuumed after so many deleted rows, at full speed; the number of waiting rows does not matter
    __table_args__ = (
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 1000,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )

    id: int = Field(sa_column=identity())
    topic: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    headers: dict[str, str] = Field(sa_type=JSONB)
    value: bytes | None = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=INSTANT, sa_column_kwargs=NOW)
