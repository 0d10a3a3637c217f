"""Field types of imports."""

from typing import Annotated, Final, Literal, get_args
from uuid import UUID

from pydantic import Field

ImportId = Annotated[UUID, Field(description="the import's id", examples=["0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11"])]
Status = Literal["requested", "planning", "running", "completed", "failed", "cancelled"]
ImportKind = Literal["full", "changes", "compare"]
KINDS: Final[tuple[ImportKind, ...]] = get_args(ImportKind)
FRESH_KINDS: Final[tuple[ImportKind, ...]] = ("full", "changes")
"""The kinds that bring everything that has changed in vAptekeSync."""
Difference = Literal["would_create", "would_update", "would_reject", "would_skip", "gone", "phone_owner", "orphan"]
DeletionStatus = Literal["reported", "withheld", "approved", "applied", "left"]
Kind = Literal["row", "field", "phone_conflict"]
