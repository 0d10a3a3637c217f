"""The table of the schedule."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, Text, text
from sqlmodel import Field
from vapteke_shared.postgres.tables import INSTANT, identity

from customers_api.schema import Table


class ImportScheduleRow(Table, table=True):
    """The state of the schedule, in one row.

    `schedule`, `kind` and `timezone` are the settings of the leader. `next_at` is when the next import is due; null:
    none, or not worked out yet. `import_id` is the import that the schedule started last, until its end was noted.
    `failures` is how many of its imports have failed in a row.
    """

    __tablename__ = "import_schedule"

    id: int = Field(sa_column=identity())
    schedule: str | None = Field(None, sa_type=Text)
    kind: str | None = Field(None, sa_type=Text)
    timezone: str | None = Field(None, sa_type=Text)
    next_at: datetime | None = Field(None, sa_type=INSTANT)
    import_id: UUID | None = None
    failures: int = Field(0, sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    paused_at: datetime | None = Field(None, sa_type=INSTANT)
    paused_by: str | None = Field(None, sa_type=Text)
