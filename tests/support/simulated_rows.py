"""What customers-api does with the rows that importers have read, and with rows that are gone, in plain Python."""

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from import_rules import Rule
from simulated_state import LIMIT, Import, LegacyEvent, MirrorRow, Range, State
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected


class Rows(State):
    # the rows that importers have read

    async def apply(self, partition: int, events: Sequence[LegacyEvent], refused: Collection[int]) -> None:
        """Apply the next events of a partition. The database refuses the rows with the keys `refused`."""
        for event in events:
            self._offsets[partition] += 1
            job = self._imports[event.import_id]
            if job.status == "running" or not self._has(Rule.ENDED_IMPORTS_ARE_IGNORED):
                self._apply(job, event, event.legacy_id in refused)

    def _apply(self, job: Import, event: LegacyEvent, is_refused: bool) -> None:
        given, row = job.ranges[event.chunk], self.mirror.get(event.legacy_id)
        is_rejected = is_refused or isinstance(event, LegacyCustomerRejected)
        is_stale = self._is_stale(given, event, row)
        given.readings.append((event.attempt, event.read_at, event.legacy_id, is_rejected))
        given.is_refused |= is_refused
        if job.kind == "compare":
            is_stale = is_stale if not self._has(Rule.ONLY_THE_WINNER_COMPARES) else self._is_older(event, row)
            if not is_rejected and not is_stale and self._would_change(event, row):
                job.differences.append((event.attempt, event.legacy_id))
            return
        if self._is_outdated(job, event):
            return
        if row is not None and row.gone_as is not None:
            self._bring_back(row, self._values(event, row) != row.value)
        if row is not None and not is_stale and self._takes_number(job, event.legacy_id):
            row.number = event.number or 0
        if row is not None and row.deleted is not None:
            given.has_skipped = True
        elif not is_rejected and not is_stale:
            self._write(event, row)

    def _is_older(self, event: LegacyEvent, row: MirrorRow | None) -> bool:
        """Whether the row was read with a greater number."""
        is_older = row is not None and (event.number or 0) < row.number
        return is_older and self._has(Rule.GREATER_NUMBER_WINS)

    def _is_stale(self, given: Range, event: LegacyEvent, row: MirrorRow | None) -> bool:
        read_later = any(
            attempt != event.attempt and key == event.legacy_id and at > event.read_at
            for attempt, at, key, _ in given.readings
        )
        return self._is_older(event, row) or (read_later and self._has(Rule.LATER_ATTEMPT_WINS))

    def _is_outdated(self, job: Import, event: LegacyEvent) -> bool:
        """Whether an import that was planned after the row was asked for has completed."""
        is_outdated = job.kind == "rows" and (event.number or 0) < self.last_plan
        return is_outdated and self._has(Rule.OUTDATED_ROWS_ARE_NOT_APPLIED)

    def _values(self, event: LegacyEvent, row: MirrorRow | None) -> str | None:
        """The value that the row gets; what is unusable leaves it as it is."""
        if isinstance(event, LegacyCustomerRead) and event.unusable is None:
            return event.lastname
        return row.value if row else None

    def _would_change(self, event: LegacyEvent, row: MirrorRow | None) -> bool:
        return row is None or (row.deleted is None and self._values(event, row) != row.value)

    def _write(self, event: LegacyEvent, row: MirrorRow | None) -> None:
        value, number = self._values(event, row), event.number or 0
        if row is None:
            self.mirror[event.legacy_id] = MirrorRow(value, number, event.legacy_id % 3 == 0)
        elif value != row.value:
            row.value, row.number = value, number

    def _takes_number(self, job: Import, key: int) -> bool:
        if job.kind == "rows":
            return self._has(Rule.ROWS_TAKE_NUMBER)
        return self._has(Rule.AWAITED_ROWS_TAKE_NUMBER) and key in self._awaited()

    def _bring_back(self, row: MirrorRow, has_changed: bool) -> None:
        if not has_changed and not self._has(Rule.READING_CLEARS_MARK):
            return
        row.gone_in = row.gone_as = None
        if row.deleted == "import" or (row.deleted and not self._has(Rule.ONLY_OWN_DELETIONS_END)):
            self._restore(row)

    def _restore(self, row: MirrorRow) -> None:
        row.deleted = None
        [key] = (key for key, each in self.mirror.items() if each is row)
        for job in self._unfinished():
            job.restored.add(key)
        if self._has(Rule.RESTORATION_VOIDS):
            self._void([key])

    # rows that are gone

    def _mark(self, job: Import) -> None:
        for key in list(self._missed(job)):
            row = self.mirror[key]
            is_left = row.deleted is not None or (row.joined and self._has(Rule.JOINED_CUSTOMER_IS_LEFT))
            row.gone_in, row.gone_as = job.id, "left" if is_left else "reported"
        found = self._with_status(job.id, "reported")
        if self._applies_deletions and found:
            status = "approved" if len(found) <= LIMIT - self._recent(job) else "withheld"
            for row in found:
                row.gone_as = status

    def _missed(self, job: Import) -> Iterator[int]:
        """The keys of rows that the import has looked at and not found."""
        for each in job.ranges.values():
            number, read = each.number or 0, self._present(each)
            is_open = each.after is not None or self._has(Rule.FIRST_RANGE_IS_OPEN)
            lowest = None if is_open else min(read, default=0)
            for key, row in self.mirror.items():
                is_looked_at = each.holds(key) and (lowest is None or key >= lowest) and number
                if is_looked_at and key not in read and self._may_be_gone(row, number, Rule.NEWER_READING_IS_NOT_GONE):
                    yield key
        last = job.last_bound
        if last is None and not self._has(Rule.EMPTY_TABLE_MARKS_NOTHING):
            last = -1
        if last is not None and self._has(Rule.ABOVE_LAST_BOUND_IS_LOOKED_AT):
            for key, row in self.mirror.items():
                if key > last and self._may_be_gone(row, job.plan_number, Rule.AFTER_PLAN_IS_NOT_LOOKED_AT):
                    yield key

    def _present(self, each: Range) -> set[int]:
        won = each.published.attempt if each.published else None
        return {
            key
            for attempt, _, key, is_rejected in each.readings
            if (attempt == won or self._has(Rule.ROW_OF_ANY_ATTEMPT_IS_PRESENT))
            and (not is_rejected or self._has(Rule.REJECTED_ROW_IS_PRESENT))
        }

    def _may_be_gone(self, row: MirrorRow, number: int, rule: Rule) -> bool:
        is_marked = row.gone_as is not None and self._has(Rule.ONCE_PER_ABSENCE)
        return not is_marked and (row.number < number or not self._has(rule))

    def _with_status(self, import_id: UUID, *statuses: str) -> list[MirrorRow]:
        return [row for row in self.mirror.values() if row.gone_in == import_id and row.gone_as in statuses]

    def _recent(self, job: Import) -> int:
        """How many deletions count towards the limit."""
        rows = [
            row for row in self.mirror.values() if row.gone_in == job.id or self._has(Rule.LIMIT_COUNTS_ALL_IMPORTS)
        ]
        approved = sum(row.gone_as == "approved" for row in rows) if self._has(Rule.LIMIT_COUNTS_APPROVED) else 0
        return approved + sum(
            row.gone_as == "applied" and row.deleted is not None and row.deleted_on == self._day for row in rows
        )

    # the customers of gone rows, and what else happens to customers

    async def waiting_for_approval(self) -> dict[UUID, list[int]]:
        """By import, the keys of gone rows whose deletion can be approved."""
        waiting: dict[UUID, list[int]] = {}
        for key, row in self.mirror.items():
            if row.gone_in and row.gone_as in ("reported", "withheld"):
                waiting.setdefault(row.gone_in, []).append(key)
        return waiting

    async def approve(self, import_id: UUID, count: int) -> None:
        rows = self._with_status(import_id, "reported", "withheld")
        if len(rows) <= count or not self._has(Rule.APPROVES_AT_MOST_THE_COUNT):
            for row in rows:
                row.gone_as = "approved"

    async def to_delete(self) -> list[int]:
        return [key for key, row in self.mirror.items() if row.gone_as == "approved"]

    async def delete_gone(self, key: int) -> None:
        """Delete the customer of a gone row; it was in the answer of `to_delete`."""
        row = self.mirror[key]
        if row.gone_as != "approved" and self._has(Rule.ONLY_WHAT_IS_STILL_GONE):
            return
        row.gone_as = "applied" if row.deleted is None else "left"
        if row.deleted is None:
            row.deleted, row.deleted_on = "import", self._day

    async def api_delete(self, key: int) -> None:
        row = self.mirror[key]
        if row.deleted is None:
            row.deleted, row.deleted_on = "api", self._day
        elif self._has(Rule.API_DELETION_TAKES_OVER):
            row.deleted = "api"

    async def api_restore(self, key: int) -> None:
        if self.mirror[key].deleted is not None:
            self._restore(self.mirror[key])

    async def next_day(self) -> None:
        self._day += 1
