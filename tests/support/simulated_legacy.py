"""vAptekeSync's table and the importers that read it, simulated: transactions commit late, and reading takes time.

A generator is a process of an importer. It goes on when it is resumed, so the table may change between any two rows
that it reads; one that is dropped was killed.
"""

import hashlib
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from vapteke_shared.contract.events.imports import (
    Planned,
    PlanRequested,
    RangePublished,
    RangeRequested,
    RowsRequested,
)
from vapteke_shared.contract.events.legacy_customers import IN_THE_FUTURE, LegacyCustomerRead, LegacyCustomerRejected

NEVER = 10**6
"""A row that is usable from this day on is rejected."""
ABSENT = "absent"
PRESENT = "present"
"""The row exists, and nothing can be said about its value."""
DAY = datetime(2026, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    value: str
    usable_from: int = 0
    """The day from which the value does not lie in the future any more."""
    version: int = 0


class Table:
    """The committed rows by key, and all states that each key has had."""

    def __init__(self, keys: Iterable[int], has_rowversion: bool) -> None:
        self.rows: dict[int, Row] = {}
        self.has_rowversion, self.day, self.moment = has_rowversion, 0, 0
        self.every_key = frozenset(keys)
        self.translation = self._restored = self._versions = 0
        self._open: dict[int, list[tuple[int, Row | None]]] = {}
        self._states: dict[int, list[tuple[int, str]]] = {key: [(0, ABSENT)] for key in self.every_key}
        self._backup: tuple[dict[int, Row], int] = ({}, 0)

    @property
    def basis(self) -> dict[str, str]:
        return {"translation": str(self.translation), "database_created_at": str(self._restored)}

    @property
    def open_transactions(self) -> list[int]:
        return list(self._open)

    def change(self, key: int, row: Row | None, transaction: int | None) -> None:
        """Set, add or remove a row; do nothing if it would have to wait for another transaction."""
        holder = next((name for name, held in self._open.items() if any(key == each for each, _ in held)), None)
        if holder not in (None, transaction):
            return
        self._versions += 1
        row = None if row is None else row._replace(version=self._versions)
        if transaction is None:
            self._write([(key, row)])
        else:
            self._open.setdefault(transaction, []).append((key, row))

    def end(self, transaction: int, commit: bool) -> None:
        held = self._open.pop(transaction)
        if commit:
            self._write(held)

    def next_day(self) -> None:
        self.day += 1
        self._write(())

    def translate_differently(self) -> None:
        """Another release of the importer, or the one before again."""
        self.translation = 1 - self.translation
        self._write(())

    def back_up(self) -> None:
        self._backup = dict(self.rows), self._versions

    def restore(self) -> None:
        """Restore the backup, as a database that is created again; open transactions are lost."""
        self._open.clear()
        self.rows, self._versions = dict(self._backup[0]), self._backup[1]
        self._restored += 1
        self._write(())

    def _write(self, changes: Iterable[tuple[int, Row | None]]) -> None:
        for key, row in changes:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        for key, states in self._states.items():
            if (now := self.state(key)) != states[-1][1]:
                states.append((self.moment, now))

    def state(self, key: int) -> str:
        """What an import should make of the key now: a value, ABSENT or PRESENT."""
        row = self.rows.get(key)
        if row is None:
            return ABSENT
        return PRESENT if row.usable_from > self.day else self.translated(row)

    def translated(self, row: Row) -> str:
        return f"{row.value}{'xy'[self.translation]}"

    @staticmethod
    def at(moment: int) -> datetime:
        """The table's clock."""
        return DAY + timedelta(seconds=moment)

    def states_since(self, key: int, moment: int) -> set[str]:
        """All states of the key at this moment or later."""
        found = set()
        for since, state in reversed(self._states[key]):
            found.add(state)
            if since <= moment:
                break
        return found

    def keys(self, after: int | None = None, upto: int | None = None) -> list[int]:
        """The keys of the rows with after < key <= upto, in ascending order; None: without a bound."""
        return sorted(key for key in self.rows if (after is None or key > after) and (upto is None or key <= upto))

    def fingerprint(self, keys: Iterable[int]) -> str:
        return summed([self.row_fingerprint(key, self.rows[key]) for key in keys])

    def row_fingerprint(self, key: int, row: Row) -> int:
        return _hashed(row.version) if self.has_rowversion else _hashed(key, row.value, row.usable_from)


@lru_cache(2**12)
def _hashed(*values: Any) -> int:
    return int.from_bytes(hashlib.sha256(repr(values).encode()).digest()[:8], "big", signed=True)


def summed(found: Sequence[int]) -> str:
    return f"{len(found)}:{sum(found)}"


Process = Generator[None, None, Planned | RangePublished]
Publish = Callable[[LegacyCustomerRead | LegacyCustomerRejected, int], tuple[int, int]]
"""Gets an event and the moment at which its row was read. Returns partition and offset."""


def plan(table: Table, task: PlanRequested, compares_basis: bool = True) -> Process:
    """As `changes_plan.plan` and `legacy.plan` do it, one statement after the other."""
    basis = table.basis
    yield
    if task.stored_bounds is None or (task.basis != basis and compares_basis):
        return _planned(task, basis, table.keys())
    fingerprints = dict(zip(task.stored_bounds, task.stored_fingerprints or (), strict=True))
    ranges = list(zip([None, *task.stored_bounds], task.stored_bounds, strict=False))
    new = table.keys(after=task.stored_bounds[-1])
    yield
    found = {}
    for after, upto in ranges:
        found[upto] = yield from _summed_slowly(table, after, upto)
    last_after, last = ranges[-1]
    if new and int((fingerprints[last] or found[last]).split(":")[0]) < task.rows_per_range:
        new = table.keys(after=last_after)
        ranges.pop()
    unread = [number for number, (_, upto) in enumerate(ranges) if found[upto] == fingerprints[upto]]
    if not new and not any(int(found[upto].split(":")[0]) for _, upto in ranges):
        return _planned(task, basis, table.keys())
    planned = _planned(task, basis, new)
    planned.upper_bounds = [upto for _, upto in ranges] + planned.upper_bounds
    planned.row_count, planned.unread = max(planned.row_count, 1), unread
    return planned


def _summed_slowly(table: Table, after: int | None, upto: int) -> Generator[None, None, str]:
    found = []
    while keys := table.keys(after, upto):
        found.append(table.row_fingerprint(keys[0], table.rows[keys[0]]))
        after = keys[0]
        yield
    return summed(found)


def _planned(task: PlanRequested, basis: dict[str, str], keys: Sequence[int]) -> Planned:
    size = task.rows_per_range
    bounds = [keys[min(end, len(keys)) - 1] for end in range(size, len(keys) + size, size)]
    return Planned(import_id=task.import_id, number=task.number, row_count=len(keys), upper_bounds=bounds, basis=basis)


class Attempt:
    """One attempt at a range, or at a task with keys. `moments` says when each of its events was read."""

    def __init__(self, table: Table, task: RangeRequested | RowsRequested, draw: random.Random) -> None:
        self._table, self._task, self.id = table, task, UUID(int=draw.getrandbits(128))

    def read(self, publish: Publish, sums_what_it_read: bool = True) -> Process:
        table, task = self._table, self._task
        read_at, basis, after = table.at(table.moment), table.basis, getattr(task, "after_id", None)
        offsets, found, future, count = dict[int, int](), list[int](), list[int](), 0
        yield
        while keys := self._keys_left(after):
            after, row, moment = keys[0], table.rows[keys[0]], table.moment
            event = self._event(after, row, read_at)
            yield
            partition, offset = publish(event, moment)
            offsets[partition], count = offset, count + 1
            found.append(table.row_fingerprint(after, row))
            future += [row.usable_from] if table.day < row.usable_from < NEVER else []
            yield
        if not sums_what_it_read and isinstance(task, RangeRequested):
            found = [table.row_fingerprint(key, table.rows[key]) for key in table.keys(task.after_id, task.upto_id)]
        return RangePublished(
            import_id=task.import_id,
            chunk=task.chunk,
            attempt=self.id,
            number=task.number,
            event_count=count,
            last_offsets=offsets,
            fingerprint=summed(found),
            valid_until=DAY + timedelta(days=min(future)) if future else None,
            basis=basis,
        )

    def _keys_left(self, after: int | None) -> list[int]:
        if isinstance(self._task, RangeRequested):
            return self._table.keys(after, self._task.upto_id)
        return [key for key in self._table.keys(after) if key in self._task.legacy_ids]

    def _event(self, key: int, row: Row, read_at: datetime) -> LegacyCustomerRead | LegacyCustomerRejected:
        task, is_usable = self._task, row.usable_from <= self._table.day
        facts: dict[str, Any] = {"import_id": task.import_id, "chunk": task.chunk, "attempt": self.id}
        facts |= {"number": task.number, "legacy_id": key, "read_at": read_at}
        if row.usable_from == NEVER:
            return LegacyCustomerRejected(**facts, reasons={"phone": "missing"})
        value, unusable = (self._table.translated(row), None) if is_usable else (None, {"lastname": IN_THE_FUTURE})
        return LegacyCustomerRead(**facts, phone=f"7902516{key:04}", lastname=value, unusable=unusable)
