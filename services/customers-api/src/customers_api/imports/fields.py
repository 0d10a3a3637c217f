"""Field types of imports."""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field

ImportId = Annotated[UUID, Field(description="the import's id", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"])]
Status = Literal["requested", "planning", "running", "completed", "failed", "cancelled"]
TableKind = Literal["full", "changes", "compare"]
"""The kinds that look at the whole table, and of which one import runs at a time."""
ImportKind = Literal[TableKind, "rows"]
FRESH_KINDS: Final[tuple[TableKind, ...]] = ("full", "changes")
"""The kinds that bring everything that has changed in vAptekeSync."""
BY_SCHEDULE: Final = "schedule"
"""`requested_by` of the imports that the schedule has started."""
Difference = Literal["would_create", "would_update", "would_reject", "would_skip", "gone", "phone_owner", "orphan"]
RowOutcome = Literal["absent", "rejected", "skipped", "unchanged", "updated", "created", "unknown"]
DeletionStatus = Literal["reported", "withheld", "approved", "applied", "left"]
Kind = Literal["row", "field", "phone_conflict"]
