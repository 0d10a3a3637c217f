"""What customers-api keeps about imports and rows, in plain Python, and which rule is left out."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import NamedTuple
from uuid import UUID

from import_rules import Rule
from vapteke_shared.contract.events.imports import PlanRequested, RangePublished, RangeRequested, RowsRequested
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected

LegacyEvent = LegacyCustomerRead | LegacyCustomerRejected
Task = PlanRequested | RangeRequested | RowsRequested
LIMIT = 1
"""So many customers may be deleted within 24 hours."""
EXCLUSIVE = ("full", "changes", "compare")


class View(NamedTuple):
    """What is known about a legacy row, and about its customer. `deleted`: by whom."""

    value: str | None
    gone_as: str | None
    deleted: str | None
    joined: bool


class Ended(NamedTuple):
    import_id: UUID
    kind: str
    status: str
    differences: frozenset[int]
    """Keys of rows that would be created or updated, or are gone. Only of a comparison."""


@dataclass
class MirrorRow:
    value: str | None
    number: int
    joined: bool
    gone_in: UUID | None = None
    gone_as: str | None = None
    deleted: str | None = None
    deleted_on: int = 0


@dataclass
class Range:
    after: int | None
    upto: int
    number: int | None = None
    status: str = "planned"
    published: RangePublished | None = None
    readings: list[tuple[UUID, datetime, int, bool]] = field(default_factory=list)
    """Attempt, when it began, the row's key, whether the row was rejected."""
    is_refused: bool = False
    has_skipped: bool = False

    def holds(self, key: int) -> bool:
        return (self.after is None or key > self.after) and key <= self.upto

    def attempts(self) -> set[UUID]:
        return {attempt for attempt, *_ in self.readings}


@dataclass
class Import:
    id: UUID
    kind: str
    status: str
    plan_number: int = 0
    keys: frozenset[int] = frozenset()
    basis: dict[str, str] | None = None
    last_bound: int | None = None
    ranges: dict[int, Range] = field(default_factory=dict)
    restored: set[int] = field(default_factory=set)
    differences: list[tuple[UUID, int]] = field(default_factory=list)
    is_cancelled: bool = False


@dataclass
class Stored:
    fingerprint: str | None
    valid_until: datetime | None


class State:
    """`without` is the rule that is left out. With `applies_deletions`, customers of gone rows are deleted."""

    def __init__(self, without: Rule | None = None, applies_deletions: bool = True) -> None:
        self._without, self._applies_deletions = without, applies_deletions
        self.mirror: dict[int, MirrorRow] = {}
        self._imports: dict[UUID, Import] = {}
        self._numbers, self._ids = count(1), count(1)
        self._offsets = Counter[int]()
        self._stored: dict[int, Stored] = {}
        self._basis: dict[str, str] | None = None
        self._day = self.last_plan = 0
        self._tasks: list[Task] = []
        self._ended: list[Ended] = []

    def _has(self, rule: Rule) -> bool:
        return rule is not self._without

    async def view(self) -> dict[int, View]:
        return {key: View(row.value, row.gone_as, row.deleted, row.joined) for key, row in self.mirror.items()}

    def _unfinished(self) -> list[Import]:
        return [job for job in self._imports.values() if job.status in ("waiting", "requested", "running")]

    def _awaited(self) -> set[int]:
        return {key for job in self._unfinished() for key in job.keys}

    def _void(self, keys: Collection[int]) -> None:
        """Void the stored ranges that hold these keys."""
        for key in keys:
            upto = min((upto for upto in self._stored if upto >= key), default=None)
            if upto is not None:
                self._stored[upto].fingerprint = None
