"""Events of an import as Kafka would deliver them, and what they have made of the database."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import msgspec
from aiokafka import ConsumerRecord
from customers_api.imports import progress, writes
from customers_api.imports.fields import TableKind
from vapteke_shared.contract import topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.events.imports import Planned, RangePublished
from vapteke_shared.contract.events.legacy_customers import LegacyCustomerRead, LegacyCustomerRejected
from vapteke_shared.messaging.partitions import Cluster

CLUSTER = Cluster("a-cluster", {})
READ_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def start_import(
    pool: asyncpg.Pool,
    upper_bounds: Iterable[int] = (10**9,),
    in_flight: int = 8,
    kind: TableKind = "full",
    row_count: int | None = None,
    columns: dict[str, str] | None = None,
) -> UUID:
    """An import whose plan is stored and whose ranges are asked for."""
    async with pool.acquire() as connection, connection.transaction():
        job, _ = await writes.start(connection, 10_000, kind=kind)
        bounds = list(upper_bounds)
        plan = Planned(import_id=job["id"], row_count=row_count or len(bounds), upper_bounds=bounds, columns=columns)
        await progress.planned(connection, plan, in_flight)
        import_id: UUID = job["id"]
        return import_id


async def end_import(pool: asyncpg.Pool, status: str = "completed") -> None:
    """End the unfinished import. One that waits goes on waiting."""
    await pool.execute(
        "UPDATE imports SET status = $1, finished_at = now() WHERE finished_at IS NULL AND status <> 'waiting'", status
    )


async def cancel(pool: asyncpg.Pool, import_id: UUID) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await writes.cancel(connection, import_id)


class Attempt:
    """Makes the events of one attempt at a range."""

    def __init__(self, import_id: UUID, chunk: int = 0, read_at: datetime = READ_AT, number: int | None = None) -> None:
        self.import_id, self.chunk, self.read_at, self.id = import_id, chunk, read_at, uuid4()
        self.number = number

    def read(self, legacy_id: int, phone: str, **fields: object) -> LegacyCustomerRead:
        event = LegacyCustomerRead(
            import_id=self.import_id,
            chunk=self.chunk,
            attempt=self.id,
            number=self.number,
            legacy_id=legacy_id,
            read_at=self.read_at,
            phone=phone,
        )
        return msgspec.structs.replace(event, **fields)

    def rejected(self, legacy_id: int, reason: str = "missing") -> LegacyCustomerRejected:
        return LegacyCustomerRejected(
            import_id=self.import_id,
            chunk=self.chunk,
            attempt=self.id,
            number=self.number,
            legacy_id=legacy_id,
            read_at=self.read_at,
            reasons={"phone": reason},
        )

    def published(self, count: int, last_offsets: dict[int, int]) -> RangePublished:
        return RangePublished(
            import_id=self.import_id,
            chunk=self.chunk,
            attempt=self.id,
            number=self.number,
            event_count=count,
            last_offsets=last_offsets,
        )


def record(event: Event | bytes | None, offset: int, partition: int = 0, topic: str = "") -> ConsumerRecord:
    """As the consumer gets it; bytes stand for a value that is no event."""
    value = codec.encode(event) if isinstance(event, Event) else event
    kind = event.type if isinstance(event, Event) else LegacyCustomerRead.type
    return ConsumerRecord(
        topic=topic or topics.LEGACY_CUSTOMERS.name,
        partition=partition,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        key=b"key",
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=[("ce_type", kind.encode())],
    )


def records(read: Iterable[Event | bytes | None], first_offset: int = 0, partition: int = 0) -> list[ConsumerRecord]:
    return [record(event, first_offset + place, partition) for place, event in enumerate(read)]


async def counts(pool: asyncpg.Pool) -> dict[str, int]:
    row = await pool.fetchrow(
        "SELECT coalesce(sum(created), 0)::int AS created, coalesce(sum(updated), 0)::int AS updated,"
        " coalesce(sum(unchanged), 0)::int AS unchanged, coalesce(sum(skipped), 0)::int AS skipped,"
        " coalesce(sum(rejected), 0)::int AS rejected FROM import_counts"
    )
    return {name: count for name, count in row.items() if count}


async def people_of(pool: asyncpg.Pool) -> dict[int, tuple[object, ...]]:
    """By legacy id: phone, first name, last name, e-mail, gender, version."""
    rows = await pool.fetch(
        "SELECT m.legacy_id, p.digits, f.name, c.lastname, c.email, c.gender, c.version FROM legacy_customers m"
        " JOIN customers c ON c.id = m.customer_id LEFT JOIN phones p ON p.id = c.phone_id"
        " LEFT JOIN firstnames f ON f.id = c.firstname_id"
    )
    return {row[0]: tuple(row)[1:] for row in rows}
