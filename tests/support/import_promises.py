"""What imports of all kinds promise, checked after each step of a history.

The main promise: once an import of kind full or changes has completed, the mirror shows each row as it was at some
moment since that import began, and never again as it was before that. A row that was absent is marked as gone. So rows
that nobody has changed meanwhile are exact. An import of rows promises the same of the rows that it has read.

Left out are rows that the import found rejected or refused, rows whose customer was deleted meanwhile, and all rows if
the import found an empty table.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from simulated_legacy import ABSENT, PRESENT, Table
from simulated_state import LIMIT, Ended, LegacyEvent, Task, View
from vapteke_shared.contract.events.imports import Planned, PlanRequested, RangePublished, RowsRequested
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead

FRESH = ("full", "changes")


class Broken(AssertionError):
    """A promise was not kept."""


def promise(kept: bool, text: str, *facts: Any) -> None:
    if not kept:
        raise Broken(f"{text}: {facts}")


class Published(NamedTuple):
    """An event of a legacy row, and when the row was read."""

    event: LegacyEvent
    moment: int


class Begun:
    """An import since its task was sent."""

    def __init__(self, moment: int, kind: str) -> None:
        self.moment, self.kind = moment, kind
        self.found_empty: bool | None = None
        self.found = dict[int, int]()
        """By key: the latest moment at which a row was read whose event was delivered."""
        self.usable, self.refused = set[int](), set[int]()
        self.named = set[int]()
        """Keys that imports of rows have named while this import was unfinished; of one of rows, those it reads."""
        self.agreed, self.differed = set[int](), set[int]()
        """Keys of which the table and the mirror have agreed or differed at some moment."""


class Promises:
    def __init__(self, table: Table, leaves_named_rows: bool = False) -> None:
        """`leaves_named_rows`: an import leaves rows that imports of rows name meanwhile to the next one."""
        self._table, self._leaves_named_rows = table, leaves_named_rows
        self._view: dict[int, View] = {}
        self._begun: dict[UUID, Begun] = {}
        self._since: dict[int, int] = {}
        """By key: from which moment on a state of the row may be shown."""
        self._last_deleted: dict[int, int] = {}
        self._deleted_on: dict[int, int] = {}
        self._shown: dict[int, tuple[UUID, datetime]] = {}
        """By key: the import and the beginning of the attempt whose reading the mirror shows."""
        self._delivered: Sequence[Published] = ()
        self._deleted_by_api, self._restored_by_api = set[int](), set[int]()
        self._approved_by_hand, self._not_approved = set[int](), set[int]()
        self.last_ended: Ended | None = None

    # what happens

    def note_task(self, task: Task, kind: str) -> None:
        """`kind` is that of the import."""
        if not isinstance(task, PlanRequested | RowsRequested):
            return
        others, begun = [*self._begun.values()], Begun(self._table.moment, kind)
        self._begun[task.import_id] = begun
        if isinstance(task, RowsRequested):
            begun.named = set(task.legacy_ids)
            for other in others:
                other.named |= begun.named if other.kind != "rows" else set()
        else:
            begun.named.update(*(other.named for other in others if other.kind == "rows"))

    def note_report(self, event: Planned | RangePublished) -> None:
        if isinstance(event, Planned) and event.import_id in self._begun:
            begun = self._begun[event.import_id]
            begun.found_empty = not event.upper_bounds if begun.found_empty is None else begun.found_empty

    def note_delivery(self, published: Sequence[Published], refused: Collection[int]) -> None:
        """No two of the events are of one row."""
        self._delivered = [each for each in published if each.event.legacy_id not in refused]
        for event, moment in published:
            key, begun = event.legacy_id, self._begun.get(event.import_id)
            if begun is None:
                continue
            begun.found[key] = max(moment, begun.found.get(key, 0))
            if begun.kind == "rows":
                self._excuse(key)
            if key in refused:
                begun.refused.add(key)
            elif isinstance(event, LegacyCustomerRead) and event.unusable is None:
                begun.usable.add(key)

    def _excuse(self, key: int) -> None:
        """A comparison need not tell what an import of rows has written meanwhile."""
        for begun in self._begun.values():
            begun.agreed.add(key)

    def note_approval(self, keys: Sequence[int], count: int) -> None:
        if len(keys) <= count:
            self._approved_by_hand |= set(keys)
        else:
            self._not_approved |= set(keys)

    def note_api_deletion(self, key: int) -> None:
        self._deleted_by_api.add(key)
        self._restored_by_api.discard(key)

    def note_api_restoration(self, key: int) -> None:
        self._deleted_by_api.discard(key)
        if self._view[key].gone_as in ("applied", "left"):
            self._restored_by_api.add(key)

    # what must hold

    def check(self, view: dict[int, View], ended: Iterable[Ended]) -> None:
        """`view` is what customers-api shows after the step, and `ended` are the imports that the step has ended."""
        before, self._view = self._view, view
        self._check_order(before)
        self._compare()
        self._check_marks(before, [each for each in ended if each.kind in FRESH and each.status == "completed"])
        for each in ended:
            self._note_end(each)
        for key, now in view.items():
            self._check_customer(key, before.get(key), now)
        for key in self._since:
            self._check_row(key)
        self._check_limit()

    def _check_order(self, before: dict[int, View]) -> None:
        """Within an import, a reading is not replaced by one that is surely older."""
        for event, moment in self._delivered:
            key, value = event.legacy_id, getattr(event, "lastname", None)
            if value is None or key not in self._view or self._view[key].value != value:
                continue
            was_written = key not in before or before[key].value != value
            import_id, read_at = self._shown.get(key, (None, event.read_at))
            if was_written and import_id == event.import_id:
                promise(self._table.at(moment) >= read_at, "an older reading replaces a newer one", key)
            if was_written or import_id != event.import_id or event.read_at > read_at:
                self._shown[key] = event.import_id, event.read_at
        self._delivered = ()

    def _check_customer(self, key: int, before: View | None, now: View) -> None:
        if now.deleted is not None:
            self._last_deleted[key] = self._table.moment
        if now.gone_as is None:
            self._restored_by_api.discard(key)
            self._approved_by_hand.discard(key)
            promise(now.deleted != "import", "a customer stays deleted whose row has returned", key)
        if now.deleted == "import" and (before is None or before.deleted is None):
            self._deleted_on[key] = self._table.day
            promise(not now.joined, "a customer of the API was deleted for a gone row", key)
            promise(key not in self._restored_by_api, "a restored customer was deleted for the same absence", key)
            promise(before is not None and before.gone_as is not None, "deleted although the row is not gone", key)
        is_active = key in self._deleted_by_api and now.deleted is None
        promise(not is_active, "a customer whom the API deleted is active", key)
        promise(key not in self._not_approved or now.gone_as != "approved", "approved more than was counted", key)

    def _check_limit(self) -> None:
        """Of those deleted within 24 hours without an approval, at most `LIMIT` are still deleted."""
        deleted = {key for key, now in self._view.items() if now.deleted == "import"} - self._approved_by_hand
        today = [key for key in deleted if self._deleted_on[key] == self._table.day]
        promise(len(today) <= LIMIT, "more customers were deleted than the limit allows", today)
        self._not_approved.clear()

    def _check_row(self, key: int) -> None:
        states, row = self._table.states_since(key, self._since[key]), self._view.get(key)
        if row is None:
            promise(bool(states & {ABSENT, PRESENT}), "a row is missing", key, states)
        elif row.gone_as is not None:
            promise(ABSENT in states, "a row is marked as gone that was there all the time", key)
        else:
            promise(states != {ABSENT}, "a row that is gone is not marked", key)
            is_known = PRESENT not in states and self._last_deleted.get(key, -1) < self._since[key]
            promise(not is_known or row.value in states, "a row shows what it was before", key, row.value, states)

    # the end of an import

    def _check_marks(self, before: dict[int, View], ended: Sequence[Ended]) -> None:
        was_marked = {key for key, view in before.items() if view.gone_as is not None}
        marked = {key for key, view in self._view.items() if view.gone_as is not None} - was_marked
        if not marked:
            return
        promise(len(ended) == 1, "rows are marked though no import of all changes has completed", marked)
        begun = self._begun[ended[0].import_id]
        promise(not begun.found_empty, "an import that found an empty table marks rows", marked)
        for key in marked:
            was_absent = ABSENT in self._table.states_since(key, begun.found.get(key, begun.moment))
            promise(was_absent, "marked as gone although it was not absent since the import has read it", key)

    def _note_end(self, each: Ended) -> None:
        self.last_ended, begun = each, self._begun.pop(each.import_id, None)
        if begun is None or each.status != "completed" or begun.found_empty:  # or it was cancelled while it waited
            return
        if self._leaves_named_rows and each.kind != "rows":
            begun.refused |= begun.named
        keys = {"full": self._table.every_key, "changes": self._table.every_key, "rows": begun.usable}
        for key in keys.get(each.kind, set()) - begun.refused:
            self._since[key] = max(begun.moment, self._since.get(key, 0))
        if each.kind == "compare":
            self._check_comparison(each, begun)

    def _compare(self) -> None:
        for begun in self._begun.values():
            if begun.kind == "compare":
                agree = {key: self._agrees(key) for key in self._table.every_key}
                begun.agreed.update(key for key, agrees in agree.items() if agrees is not False)
                begun.differed.update(key for key, agrees in agree.items() if agrees is not True)

    def _agrees(self, key: int) -> bool | None:
        """Whether the mirror shows the row as it is in the table; None: a comparison need not tell."""
        state, row = self._table.state(key), self._view.get(key)
        if state == PRESENT or (row is not None and row.deleted is not None):
            return None if state != ABSENT or row is None else row.gone_as is not None
        if row is None or state == ABSENT:
            return state == ABSENT and (row is None or row.gone_as is not None)
        return row.value == state

    def _check_comparison(self, each: Ended, begun: Begun) -> None:
        false = each.differences - begun.differed
        missing = self._table.every_key - begun.agreed - each.differences - begun.refused
        missing -= {key for key in begun.found if self._table.state(key) == ABSENT}  # a losing attempt has read them
        promise(not false, "a comparison lists rows that never differed", false)
        promise(not missing, "a comparison does not list rows that always differed", missing)
