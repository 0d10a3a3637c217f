"""Histories of imports of all kinds, drawn from a seed: the same for the simulation and for the real customers-api.

vAptekeSync's rows change in transactions that commit late, importers read them, are killed or doubled, Kafka delivers
their events in any order of partitions, imports fail or are cancelled, the API deletes and restores customers, and days
pass. After each step, what is promised must hold (`import_promises.py`).
"""

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol
from uuid import UUID

from import_promises import Promises, Published, promise
from import_rules import Rule
from simulated_legacy import NEVER, Attempt, Process, Row, Table, plan
from simulated_state import Ended, LegacyEvent, Task, View
from vapteke_shared.contract.events.imports import Planned, PlanRequested, RangePublished, RowsRequested

PARTITIONS = 2
STEPS = 60


class CustomersApi(Protocol):
    """customers-api, simulated or real."""

    async def tasks(self) -> list[Task]: ...
    async def ended(self) -> list[Ended]: ...
    async def view(self) -> dict[int, View]: ...
    async def unfinished(self) -> dict[UUID, str]: ...
    async def request(self, kind: str) -> None: ...
    async def request_rows(self, keys: Collection[int]) -> None: ...
    async def cancel(self, import_id: UUID) -> None: ...
    async def progress(self, event: Planned | RangePublished) -> None: ...
    async def apply(self, partition: int, events: Sequence[LegacyEvent], refused: Collection[int]) -> None: ...
    async def sweep(self) -> None: ...
    async def fail(self, import_id: UUID) -> None: ...
    async def waiting_for_approval(self) -> dict[UUID, list[int]]: ...
    async def approve(self, import_id: UUID, count: int) -> None: ...
    async def to_delete(self) -> list[int]: ...
    async def delete_gone(self, key: int) -> None: ...
    async def api_delete(self, key: int) -> None: ...
    async def api_restore(self, key: int) -> None: ...
    async def next_day(self) -> None: ...


class History:
    """`without` is the rule that importers leave out; customers-api leaves out its own. `often` names steps, and
    `remove`, `refuse` or `unusable`.
    """

    def __init__(
        self,
        api: CustomersApi,
        draw: random.Random,
        *,
        without: Rule | None = None,
        often: Collection[str] = (),
        leaves_named_rows: bool = False,
    ) -> None:
        self._api, self._draw = api, draw
        sometimes = [weight * (8 if step in often else draw.choice([0, 1])) for step, weight in _SOMETIMES.items()]
        self._weights = [*_ALWAYS.values(), *sometimes]
        self._idle = draw.choice([0.2, 0.5, 0.7])
        self._keys = range(1, 1 + draw.choice([1, 2, 3, 6]))
        self._removals = draw.choice([0.3, 0.7]) if "remove" in often else 0.2
        self._refusals = 0.2 if "refuse" in often else 0
        self._usable_from = [0] * 6 + ([NEVER, 1, 2] if "unusable" in often else [])
        self._without = without
        self.table = Table(self._keys, has_rowversion=draw.random() < 0.5)
        self.promises = Promises(self.table, leaves_named_rows)
        self.steps: list[str] = []
        self._tasks: list[Task] = []
        self._processes: list[tuple[Task, Process, float]] = []
        """With the probability that the process rests while others work."""
        self._queues: list[list[Published]] = [[] for _ in range(PARTITIONS)]
        self._offsets = [0] * PARTITIONS
        self._progress: list[Planned | RangePublished] = []
        self._approved: list[int] = []
        for key in self._keys:
            if draw.random() < 0.7:
                self.table.change(key, self._some_row(), None)

    async def run(self, steps: int = STEPS) -> None:
        """Raises Broken as soon as a promise is broken."""
        for _ in range(steps):
            await self._do(self._some_step())
            await self._work(self._idle)
        await self._rest()

    def _some_step(self) -> str:
        return self._draw.choices(_STEPS, self._weights)[0]

    async def _do(self, step: str, *given: Any) -> None:
        self.table.moment += 1
        self.steps.append(step)
        await getattr(self, f"_{step}")(*given)
        if step in _ONLY_IMPORTERS:
            return
        for task in await self._api.tasks():
            self._tasks.append(task)
            self.promises.note_task(task, (await self._api.unfinished())[task.import_id])
        ended = await self._api.ended()
        gone = {each.import_id for each in ended}
        self._tasks = [task for task in self._tasks if task.import_id not in gone]
        self.promises.check(await self._api.view(), ended)

    async def _rest(self) -> None:
        """All transactions end, all imports end, and then an import of changes and a comparison run undisturbed."""
        self._refusals = 0
        await self._do("end_all_transactions")
        await self._finish()
        for kind in ("changes", "compare"):
            await self._do("request", kind)
            await self._finish()
            ended = self.promises.last_ended
            promise(ended is not None and ended.status == "completed", "an undisturbed import did not complete", ended)
        promise(ended is None or not ended.differences, "a comparison finds differences where all is quiet", ended)

    async def _finish(self) -> None:
        """Let importers and consumers work until no import is left."""
        rounds = 0
        while await self._api.unfinished():
            rounds += 1
            promise(rounds < 50, "an import does not end", self._tasks, self._progress)
            await self._work(0)

    async def _work(self, idle: float) -> None:
        """Importers and consumers do what there is to do, but each thing is left for later with this probability."""
        for task in list(self._tasks):
            if self._draw.random() >= idle and not any(each is task for each, *_ in self._processes):
                await self._do("begin_task", task)
        for each in list(self._processes):
            if self._draw.random() >= (max(idle, each[2]) if idle else 0):
                await self._do("read", each, self._draw.randrange(1, 6) if idle else 10**6)
        for partition in range(PARTITIONS):
            while self._queues[partition] and self._draw.random() >= idle:
                await self._do("deliver", partition, self._draw.randrange(1, 4) if idle else 10**6)
        while self._progress and self._draw.random() >= idle:
            await self._do("report")
        if self._draw.random() >= idle:
            await self._do("sweep")

    # vAptekeSync

    def _some_row(self) -> Row:
        return Row(self._draw.choice("AB"), self._draw.choice(self._usable_from))

    async def _change(self) -> None:
        row = None if self._draw.random() < self._removals else self._some_row()
        transaction = self._draw.choice([None, None, 1, 2, 3])
        self.table.change(self._draw.choice(self._keys), row, transaction)

    async def _end_transaction(self) -> None:
        if self.table.open_transactions:
            self.table.end(self._draw.choice(self.table.open_transactions), self._draw.random() < 0.8)

    async def _end_all_transactions(self) -> None:
        for name in self.table.open_transactions:
            self.table.end(name, commit=True)

    async def _change_back(self) -> None:
        """A row gets back a value that it had before."""
        key = self._draw.choice(self._keys)
        if key in self.table.rows:
            other = "A" if self.table.rows[key].value == "B" else "B"
            self.table.change(key, Row(other), None)

    async def _remove_all(self) -> None:
        for key in self._keys:
            self.table.change(key, None, None)

    async def _back_up(self) -> None:
        self.table.back_up()

    async def _restore_backup(self) -> None:
        self.table.restore()

    async def _change_translation(self) -> None:
        """Importers of another release: the processes of this one end."""
        self.table.translate_differently()
        self._processes.clear()

    # importers

    async def _begin_task(self, given: Task | None = None) -> None:
        """Begin a task, perhaps one at which another importer works still."""
        if given is None and (not self._tasks or len(self._processes) >= 4):
            return
        task = given or self._draw.choice(self._tasks)
        self._processes.append((task, self._process(task), self._draw.choice([0, 0, 0, 0.93])))

    def _process(self, task: Task) -> Process:
        if isinstance(task, PlanRequested):
            return plan(self.table, task, self._without is not Rule.BASIS_IS_COMPARED)
        attempt = Attempt(self.table, task, self._draw)
        return attempt.read(self._publish, self._without is not Rule.SUMS_WHAT_WAS_READ)

    def _publish(self, event: LegacyEvent, moment: int) -> tuple[int, int]:
        partition = event.legacy_id % PARTITIONS
        self._queues[partition].append(Published(event, moment))
        return partition, self._offsets[partition] + len(self._queues[partition]) - 1

    async def _read(self, given: tuple[Task, Process, float] | None = None, rows: int | None = None) -> None:
        if not self._processes:
            return
        task, process, _ = given or self._draw.choice(self._processes)
        try:
            for _ in range(rows or self._draw.randrange(1, 6)):
                next(process)
        except StopIteration as done:
            self._progress.append(done.value)
            self._processes = [each for each in self._processes if each[1] is not process]
            self._tasks = [each for each in self._tasks if each is not task]

    async def _kill(self) -> None:
        """The task remains, and another importer begins it again."""
        if self._processes:
            self._processes.remove(self._draw.choice(self._processes))

    # customers-api

    async def _request(self, kind: str | None = None) -> None:
        await self._api.request(kind or self._draw.choice(["full", "changes", "changes", "changes", "compare"]))

    async def _request_rows(self) -> None:
        if sum(isinstance(task, RowsRequested) for task in self._tasks) < 2:
            await self._api.request_rows(
                self._draw.sample(self._keys, self._draw.randrange(1, min(3, len(self._keys) + 1)))
            )

    async def _deliver(self, partition: int | None = None, events: int | None = None) -> None:
        if partition is None:
            partition = self._draw.randrange(PARTITIONS)
        taken = self._take(self._queues[partition], events or self._draw.randrange(1, 4))
        if taken:
            self._offsets[partition] += len(taken)
            refused = {each.event.legacy_id for each in taken if self._draw.random() < self._refusals}
            self.promises.note_delivery(taken, refused)
            await self._api.apply(partition, [each.event for each in taken], refused)

    @staticmethod
    def _take(queue: list[Published], events: int) -> list[Published]:
        """The next events, at most so many, of which no two are of one row."""
        taken: list[Published] = []
        while queue and len(taken) < events and all(queue[0].event.legacy_id != each.event.legacy_id for each in taken):
            taken.append(queue.pop(0))
        return taken

    async def _report(self) -> None:
        if self._progress:
            self.promises.note_report(self._progress[0])
            await self._api.progress(self._progress.pop(0))

    async def _sweep(self) -> None:
        await self._api.sweep()

    async def _fail(self) -> None:
        await self._to_some_import(self._api.fail)

    async def _cancel(self) -> None:
        await self._to_some_import(self._api.cancel)

    async def _to_some_import(self, do: Callable[[UUID], Any]) -> None:
        if unfinished := await self._api.unfinished():
            await do(self._draw.choice(list(unfinished)))

    async def _approve(self) -> None:
        for import_id, keys in (await self._api.waiting_for_approval()).items():
            count = len(keys) - self._draw.choice([0, 1])
            self.promises.note_approval(keys, count)
            await self._api.approve(import_id, count)

    async def _find_approved(self) -> None:
        self._approved = await self._api.to_delete()

    async def _delete_gone(self) -> None:
        if self._approved:
            await self._api.delete_gone(self._approved.pop())

    async def _next_day(self) -> None:
        self.table.next_day()
        await self._api.next_day()

    # clients

    async def _api_delete(self) -> None:
        await self._to_some_customer(self._api.api_delete, self.promises.note_api_deletion)

    async def _api_restore(self) -> None:
        await self._to_some_customer(self._api.api_restore, self.promises.note_api_restoration)

    async def _to_some_customer(self, do: Callable[[int], Any], note: Callable[[int], None]) -> None:
        if keys := sorted(await self._api.view()):
            key = self._draw.choice(keys)
            note(key)
            await do(key)


_ONLY_IMPORTERS = ("begin_task", "read", "kill")
_ALWAYS = {"change": 15, "end_transaction": 5, "change_back": 10, "request": 15}
_SOMETIMES = {
    "remove_all": 0.1,
    "back_up": 0.5,
    "restore_backup": 0.5,
    "change_translation": 0.5,
    "begin_task": 0.7,
    "kill": 0.5,
    "request_rows": 1,
    "fail": 0.5,
    "cancel": 0.3,
    "approve": 0.5,
    "find_approved": 1,
    "delete_gone": 2,
    "next_day": 0.5,
    "api_delete": 1,
    "api_restore": 1,
}
_STEPS = [*_ALWAYS, *_SOMETIMES]
