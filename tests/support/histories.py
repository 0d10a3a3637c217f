"""A history of legacy changes, API calls and imports, drawn from a seed and done to the database and to the model.

An import's events are delivered as Kafka may deliver them: over partitions, in batches of any size, some twice, some
from an attempt that was broken off, some late from an import that has ended, some forged; two consumers share the
partitions, at the same time. vAptekeSync's clock jumps. Some values are such as older rules let in.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from aiokafka import ConsumerRecord
from customers_api.customers import restorations, writes
from customers_api.customers.queries import CustomerNotFound
from customers_api.customers.writes import PhoneTaken
from customers_api.imports import sweeper
from customers_api.imports.consumers import ImportConsumers
from customers_api.imports.state import CLASSES
from legacy_events import CLUSTER, Attempt, record, start_import
from legacy_table import DAY, VALUES, LegacyTable, event
from reference_model import FIELDS, Mirror, Model, Person, Reading, Row, Taken, Unknown
from vapteke_shared.contract import topics
from vapteke_shared.contract.events.event import Event
from vapteke_shared.process.health import Health

Queues = list[list[ConsumerRecord]]
PARTITIONS = 8
PHONES = [f"7902516{number:04}" for number in range(24)]
LEGACY_IDS = range(1, 31)
JUMPS = [timedelta(seconds=1)] * 8 + [timedelta(days=1, seconds=1), timedelta(days=-1), timedelta(days=-400)]


class History:
    def __init__(self, pool: asyncpg.Pool, consumers: Sequence[ImportConsumers], seed: int) -> None:
        self._pool, self._consumers, self._draw = pool, consumers, random.Random(seed)
        self.model, self.legacy = Model(), LegacyTable(PHONES, LEGACY_IDS)
        self._ended: Attempt | None = None
        self._used: dict[UUID, set[int]] = {}  # the partitions that an attempt has sent to
        self._offsets, self._progress, self._clock = [0] * PARTITIONS, 0, DAY + timedelta(days=365)

    async def step(self) -> str:
        """Do one thing, and say what."""
        [kind] = self._draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
        await self.do(kind, self._draw)
        return kind

    async def do(self, kind: str, draw: random.Random) -> None:
        self._draw = draw
        await getattr(self, f"_{kind}")()

    # the legacy side

    async def _legacy_change(self) -> None:
        self.legacy.change(self._draw)

    async def _legacy_ring(self) -> None:
        self.legacy.ring(self._draw)

    async def _legacy_removal(self) -> None:
        self.legacy.remove(self._draw)

    async def _numbers_forgotten(self) -> None:
        """All that is mirrored was written before hand-outs had numbers."""
        await self._pool.execute("UPDATE legacy_customers SET number = NULL")
        self.model.mirrors = {key: replace(mirror, read_in=0) for key, mirror in self.model.mirrors.items()}

    # the API

    async def _create(self) -> None:
        phone, fields = self._draw.choice(PHONES), self._some_fields()
        async with self._pool.acquire() as connection:
            try:
                made = await writes.create(connection, phone, fields)
            except PhoneTaken:
                with pytest.raises(Taken):
                    self.model.check_free(phone)
                return
        self.model.check_free(phone)
        self.model.create(made["id"], phone, fields)

    async def _update(self) -> None:
        fields = self._some_fields()
        await self._same(lambda c, who: writes.update(c, who, fields), lambda who: self.model.update(who, fields))

    async def _change_phone(self) -> None:
        phone = self._draw.choice(PHONES)
        await self._same(
            lambda c, who: writes.change_phone(c, who, phone), lambda who: self.model.change_phone(who, phone)
        )

    async def _delete(self) -> None:
        await self._same(writes.delete, self.model.delete)

    async def _restore(self) -> None:
        await self._same(restorations.restore, self.model.restore)

    def _some_fields(self) -> dict[str, Any]:
        names = self._draw.sample([*FIELDS, "last_auth_at"], self._draw.randrange(1, 4))
        return {name: self._draw.choice(VALUES[name]) for name in names}

    async def _same(
        self, call: Callable[[asyncpg.Connection, int], Awaitable[Any]], rule: Callable[[int], None]
    ) -> None:
        """The same to somebody in the database and in the model, or the same refusal."""
        if not self.model.people:
            return
        who = self._draw.choice(sorted(self.model.people))
        refused: type[Exception] | None = None
        async with self._pool.acquire() as connection:
            try:
                await call(connection, who)
            except (PhoneTaken, CustomerNotFound) as error:
                refused = {PhoneTaken: Taken, CustomerNotFound: Unknown}[type(error)]
        with pytest.raises(refused) if refused else nullcontext():
            rule(who)

    # the import

    async def _import(self) -> None:
        readings = [self.reading()]
        if self._draw.random() < 0.5:  # an attempt that breaks off, and perhaps another reading after it
            some = {key: row for key, row in self.legacy.rows.items() if self._draw.random() < 0.6}
            lost = replace(readings[0], rows=some, won=False)
            for _ in range(self._draw.randrange(3)):
                await self._legacy_change()
            late = {key: row for key, row in some.items() if self._draw.random() < 0.3}
            readings = [lost, self.reading(), replace(lost, rows=late)]  # some of its events come after all
        await self.imported(readings)

    def reading(self) -> Reading:
        self._clock += self._draw.choice(JUMPS)
        return Reading(dict(self.legacy.rows), self._clock)

    async def imported(self, readings: Sequence[Reading]) -> None:
        won, queues = await self.published(await start_import(self._pool), readings)
        await self.deliver(queues)
        belongs = dict(await self._pool.fetch("SELECT legacy_id, customer_id FROM legacy_customers"))
        classes = self.model.apply(readings, belongs)
        assert await self.verdict(won, classes.total()) == ("completed", dict(classes))
        [winner] = (reading for reading in readings if reading.won)
        assert await self._conflicts(won.import_id) == self.model.conflicts(winner)

    async def _conflicts(self, import_id: UUID) -> set[int]:
        rows = await self._pool.fetch(
            "SELECT legacy_id FROM import_rejections WHERE import_id = $1 AND kind = 'phone_conflict'", import_id
        )
        return {row["legacy_id"] for row in rows}

    async def published(self, import_id: UUID, readings: Sequence[Reading]) -> tuple[Attempt, Queues]:
        queues: Queues = [[] for _ in range(PARTITIONS)]
        number = await self._pool.fetchval("SELECT number FROM import_chunks WHERE import_id = $1", import_id)
        number = self._draw.choice([number, number, None])  # None: an importer of the previous release
        attempts = {reading.at: Attempt(import_id, read_at=reading.at, number=number) for reading in readings}
        for reading in readings:
            self._publish(attempts[reading.at], reading.rows, queues)
        [won] = (attempts[reading.at] for reading in readings if reading.won)
        self._ended = won
        return won, queues

    def _publish(self, attempt: Attempt, rows: Mapping[int, Row], queues: Queues) -> None:
        for legacy_id in self._draw.sample(sorted(rows), len(rows)):
            partition = legacy_id % PARTITIONS
            self._used.setdefault(attempt.id, set()).add(partition)
            if self._draw.random() < 0.02:  # rubbish between the import's own
                self._append(queues, partition, self._draw.choice([b"{", None, b"\x00\xff"]))
            if self._draw.random() < 0.05:
                self._append(queues, partition, self._forged(attempt, legacy_id))
            self._append(queues, partition, event(attempt, legacy_id, rows[legacy_id]))

    def _forged(self, attempt: Attempt, legacy_id: int) -> Event:
        """What nobody was asked for, with a clock that would beat them all; or the late event of an ended import."""
        event = attempt.read(legacy_id, "79990000000", lastname="Никто", read_at=datetime(9998, 1, 1, tzinfo=UTC))
        late = self._ended.import_id if self._ended else uuid4()
        changes: list[dict[str, Any]] = [
            {"import_id": uuid4()},
            {"import_id": late},
            {"number": 2**62},
            {"chunk": 1},
            {"legacy_id": 10**9 + legacy_id},
        ]
        return msgspec.structs.replace(event, **self._draw.choice(changes))

    def _append(self, queues: list[list[ConsumerRecord]], partition: int, event: Event | bytes | None) -> None:
        queues[partition].append(record(event, self._offsets[partition], partition))
        self._offsets[partition] += 1

    async def deliver(self, queues: Queues) -> None:
        """Each consumer has some of the partitions, and a batch something of some of these."""
        partitions = self._draw.sample(range(PARTITIONS), PARTITIONS)
        cut = self._draw.randrange(PARTITIONS + 1)
        plans = [self._batches([queues[p] for p in share]) for share in (partitions[:cut], partitions[cut:])]
        await asyncio.gather(*(self._consume(*each) for each in zip(self._consumers, plans, strict=True)))

    def _batches(self, queues: list[list[ConsumerRecord]]) -> list[list[ConsumerRecord]]:
        batches = []
        waiting = [list(queue) for queue in queues if queue]
        while waiting:
            batch = []
            for queue in self._draw.sample(waiting, self._draw.randrange(1, len(waiting) + 1)):
                size = self._draw.randrange(1, len(queue) + 1)
                batch += queue[:size]
                del queue[:size]
            batches += [batch] * self._draw.choice([1, 1, 1, 2])
            waiting = [queue for queue in waiting if queue]
        return batches

    async def _consume(self, consumers: ImportConsumers, batches: Sequence[Sequence[ConsumerRecord]]) -> None:
        for batch in batches:
            await consumers.apply_legacy(batch, CLUSTER, {})

    async def verdict(self, won: Attempt, rows: int) -> tuple[str, dict[str, int]]:
        last = {partition: self._offsets[partition] - 1 for partition in self._used.get(won.id, ())}
        event = record(won.published(rows, last), self._progress, topic=topics.IMPORT_PROGRESS.name)
        self._progress += 1
        await self._consumers[0].apply_progress([event], CLUSTER, {})
        async with self._pool.acquire() as connection:
            await sweeper.Sweeper(self._pool, Health(), 900).sweep(connection)
        job = await self._pool.fetchrow("SELECT * FROM imports WHERE id = $1", won.import_id)
        counts = {name: job[name] for name in CLASSES if job[name]}
        assert sum(counts.values()) == job["read"] == rows
        return job["status"], counts


WEIGHTS = {
    "legacy_change": 40,
    "legacy_ring": 4,
    "legacy_removal": 2,
    "numbers_forgotten": 2,
    "create": 6,
    "update": 10,
    "change_phone": 10,
    "delete": 8,
    "restore": 8,
    "import": 8,
}


async def held(pool: asyncpg.Pool) -> Model:
    """What the database holds."""
    people = {
        row["id"]: Person(
            row["phone"],
            row["phone_from"],
            {name: row[name] for name in FIELDS},
            row["last_auth_at"],
            row["deleted_at"] is not None,
        )
        for row in await pool.fetch(_PEOPLE)
    }
    mirrors = {
        row["legacy_id"]: Mirror(
            row["customer_id"], row["phone"], {name: row[name] for name in FIELDS}, row["last_auth_at"]
        )
        for row in await pool.fetch(_MIRRORS)
    }
    return Model(people, mirrors)


_PEOPLE = """
SELECT c.*, p.digits AS phone, f.name AS firstname
FROM customers c LEFT JOIN phones p ON p.id = c.phone_id LEFT JOIN firstnames f ON f.id = c.firstname_id ORDER BY c.id
"""
_MIRRORS = """
SELECT m.*, p.digits AS phone FROM legacy_customers m LEFT JOIN phones p ON p.id = m.phone_id ORDER BY legacy_id
"""
