"""What customers-api keeps and decides about imports of all kinds, in plain Python. A rule can be left out."""

from collections.abc import Collection, Iterable
from datetime import timedelta
from uuid import UUID

from import_rules import Rule
from msgspec import structs
from simulated_legacy import DAY
from simulated_rows import Rows
from simulated_state import EXCLUSIVE, Ended, Import, Range, Stored, Task
from vapteke_shared.contract.events.imports import (
    Planned,
    PlanRequested,
    RangePublished,
    RangeRequested,
    RowsRequested,
)

ROWS_PER_RANGE = 2
IN_FLIGHT = 2


class SimulatedCustomersApi(Rows):
    # what a caller sees

    async def tasks(self) -> list[Task]:
        """The tasks that were sent since the last call."""
        tasks, self._tasks = self._tasks, []
        return tasks

    async def ended(self) -> list[Ended]:
        """The imports that have ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    async def unfinished(self) -> dict[UUID, str]:
        """The kinds of unfinished imports, by their ids."""
        return {job.id: job.kind for job in self._unfinished()}

    # requests

    async def request(self, kind: str) -> None:
        if any(job.kind == kind for job in self._unfinished()):
            return
        status = "waiting" if self._running() and self._has(Rule.ONE_IMPORT_AT_A_TIME) else "requested"
        job = self._add(kind, status)
        if status == "requested":
            self._start(job)

    async def request_rows(self, keys: Collection[int]) -> None:
        job = self._add("rows", "running")
        job.keys = frozenset(keys)
        job.ranges[0] = Range(None, max(keys), next(self._numbers), "requested")
        if self._has(Rule.ROWS_VOID):
            self._void(keys)
        self._tasks.append(
            RowsRequested(import_id=job.id, chunk=0, number=job.ranges[0].number, legacy_ids=sorted(keys))
        )

    async def cancel(self, import_id: UUID) -> None:
        self._imports[import_id].is_cancelled = True

    def _add(self, kind: str, status: str) -> Import:
        job = Import(UUID(int=next(self._ids)), kind, status)
        self._imports[job.id] = job
        return job

    def _running(self) -> list[Import]:
        return [job for job in self._unfinished() if job.status != "waiting" and job.kind in EXCLUSIVE]

    def _start(self, job: Import) -> None:
        job.status, job.plan_number = "requested", next(self._numbers)
        task = PlanRequested(import_id=job.id, rows_per_range=ROWS_PER_RANGE, number=job.plan_number)
        if job.kind == "changes" and not self._stored:
            job.kind = "full"
        elif job.kind == "changes":
            task.stored_bounds = sorted(self._stored)
            task.stored_fingerprints = [self._fingerprint(self._stored[upto]) for upto in task.stored_bounds]
            task.basis = self._basis
        self._tasks.append(task)

    def _fingerprint(self, stored: Stored) -> str | None:
        has_ended = stored.valid_until is not None and stored.valid_until <= DAY + timedelta(days=self._day)
        return None if has_ended and self._has(Rule.FUTURE_ENDS_FINGERPRINT) else stored.fingerprint

    # what importers report

    async def progress(self, event: Planned | RangePublished) -> None:
        job = self._imports[event.import_id]
        if isinstance(event, Planned):
            if job.status == "requested":
                self._planned(job, event)
        elif job.status == "running" and job.ranges[event.chunk].status == "requested":
            self._published(job, job.ranges[event.chunk], event)

    def _planned(self, job: Import, plan: Planned) -> None:
        job.status, job.basis, job.last_bound = "running", plan.basis, max(plan.upper_bounds, default=None)
        if job.kind == "changes" and plan.unread is None:
            job.kind = "full"
        unread = self._unread(job, plan)
        for chunk, ends in enumerate(zip([None, *plan.upper_bounds], plan.upper_bounds, strict=False)):
            if ends[1] not in unread:
                job.ranges[chunk] = Range(*ends)
        self._hand_out(job)

    def _unread(self, job: Import, plan: Planned) -> set[int]:
        unread = {plan.upper_bounds[chunk] for chunk in plan.unread or ()}
        if job.kind == "compare":
            return set()
        if self._has(Rule.VOIDED_SINCE_IS_READ):
            unread = {upto for upto in unread if upto in self._stored and self._stored[upto].fingerprint is not None}
        if self._has(Rule.PLAN_VOIDS):
            if job.kind == "full":
                self._stored.clear()
            self._void(self._stored.keys() - unread)
        return unread

    def _hand_out(self, job: Import) -> None:
        in_flight = sum(each.status == "requested" for each in job.ranges.values())
        planned = [chunk for chunk, each in job.ranges.items() if each.status == "planned"]
        for chunk in planned[: IN_FLIGHT - in_flight] if not job.is_cancelled else ():
            given = job.ranges[chunk]
            given.status, given.number = "requested", next(self._numbers)
            task = RangeRequested(import_id=job.id, chunk=chunk, after_id=given.after, upto_id=given.upto)
            self._tasks.append(structs.replace(task, number=given.number))

    def _published(self, job: Import, given: Range, event: RangePublished) -> None:
        given.status, given.published = "published", event
        if not self._has(Rule.ONLY_COMPLETED_IMPORTS_STORE):
            self._keep(job, [given])
        self._hand_out(job)

    # the end of imports

    async def sweep(self) -> None:
        for job in self._unfinished():
            if job.is_cancelled and job.status in ("waiting", "requested"):
                self._end(job, "cancelled")
            elif job.status == "running" and all(self._has_passed(each) for each in job.ranges.values()):
                left = {each.status for each in job.ranges.values()} - {"published"}
                if not left:
                    self._end(job, "completed")
                elif job.is_cancelled and "requested" not in left:
                    self._end(job, "cancelled")
        waiting = [job for job in self._unfinished() if job.status == "waiting"]
        if waiting and not self._running():
            self._start(waiting[0])

    async def fail(self, import_id: UUID) -> None:
        """End an import that has made no progress for too long."""
        if self._imports[import_id].status != "waiting":
            self._end(self._imports[import_id], "failed")

    def _has_passed(self, each: Range) -> bool:
        if each.published is None or not self._has(Rule.ALL_EVENTS_ARE_APPLIED_FIRST):
            return True
        return all(self._offsets[partition] > last for partition, last in each.published.last_offsets.items())

    def _end(self, job: Import, status: str) -> None:
        job.status = status
        may_mark = status == "completed" or not self._has(Rule.ONLY_COMPLETED_IMPORTS_MARK)
        if job.kind in ("full", "changes") and may_mark:
            self._mark(job)
        if job.kind in ("full", "changes") and status == "completed" and job.last_bound is not None:
            self.last_plan = job.plan_number
        if status == "completed" and self._has(Rule.ONLY_COMPLETED_IMPORTS_STORE):
            self._keep(job, job.ranges.values())
        won = {each.published.attempt for each in job.ranges.values() if each.published}
        differences = {key for attempt, key in job.differences if attempt in won}
        if job.kind == "compare":
            differences |= set(self._missed(job))
        self._ended.append(Ended(job.id, job.kind, status, frozenset(differences)))

    def _keep(self, job: Import, ranges: Iterable[Range]) -> None:
        kinds = ("full", "changes") if self._has(Rule.ONLY_FULL_AND_CHANGES_STORE) else EXCLUSIVE
        for each in ranges if job.kind in kinds else ():
            self._keep_range(job, each)

    def _keep_range(self, job: Import, each: Range) -> None:
        published = each.published
        assert published is not None
        for upto in [upto for upto in self._stored if each.holds(upto)]:
            del self._stored[upto]
        is_void = self._is_void(job, each, published)
        self._stored[each.upto] = Stored(None if is_void else published.fingerprint, published.valid_until)
        self._basis = job.basis

    def _is_void(self, job: Import, each: Range, published: RangePublished) -> bool:
        keys = [key for key in self.mirror if each.holds(key)]
        reasons = {
            Rule.BASIS_OF_A_RANGE_IS_COMPARED: published.basis != job.basis,
            Rule.OTHER_ATTEMPT_VOIDS: bool(each.attempts() - {published.attempt}),
            Rule.REFUSED_ROW_VOIDS: each.is_refused,
            Rule.NEWER_READING_VOIDS: any(self.mirror[key].number > (each.number or 0) for key in keys),
            Rule.UNFINISHED_ROWS_VOID: any(each.holds(key) for key in self._awaited()),
            Rule.RESTORED_MEANWHILE_VOIDS: each.has_skipped and bool(job.restored & set(keys)),
        }
        return any(applies and self._has(rule) for rule, applies in reasons.items())
