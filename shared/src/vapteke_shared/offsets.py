"""Stored offsets: a consumer's place in Kafka, kept in the transaction that holds the effect (design, section 6).

Works on a table `consumed_offsets` (topic, partition, next_offset, cluster_id) in the connection's search path.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

from asyncpg import Connection

from vapteke_shared import logs

log = logs.get(__name__)


class KafkaReplaced(Exception):
    """The stored offsets are of another Kafka, or of a topic made anew: applying would lose or repeat events."""


class Ahead(Exception):
    """A partition of the batch begins above its stored offset: read all of `stored`, the batch's, again from there."""

    def __init__(self, stored: Mapping["Partition", int], ahead: Collection["Partition"]) -> None:
        super().__init__("the batch begins above the stored offset")
        self.stored, self.ahead = stored, ahead


class Partition(NamedTuple):
    topic: str
    partition: int


class Record(Protocol):
    """What is needed of a Kafka record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


async def lock(connection: Connection, partitions: Collection[Partition], cluster_id: str) -> dict[Partition, int]:
    """Lock the partitions' rows for this transaction, made where they are missing, and return the next offsets.

    The state that the offsets guard is to be read after this statement. Raises KafkaReplaced.
    """
    topics, numbers = [p.topic for p in partitions], [p.partition for p in partitions]
    await connection.execute(_INSERT, topics, numbers, cluster_id)
    return _places(await connection.fetch(_LOCK, topics, numbers), cluster_id)


def _places(rows: Iterable[Mapping[str, Any]], cluster_id: str) -> dict[Partition, int]:
    if any(row["cluster_id"] != cluster_id for row in rows):
        raise KafkaReplaced("the stored offsets belong to another Kafka cluster")
    return {Partition(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def begin(
    connection: Connection, records: Sequence[Record], cluster_id: str, gaps: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Lock the places of a batch's partitions and return them: records below are done already.

    `gaps` are the offsets up to which was read without a break, or that a seek has been tried for: what begins above
    one that is stored is a gap of Kafka's own (the marker of a transaction; records that were deleted or compacted),
    and accepted. Raises Ahead and KafkaReplaced.
    """
    begins = first(records)
    places = await lock(connection, begins.keys(), cluster_id)
    ahead = {p for p, offset in begins.items() if offset > places[p]}
    if any(gaps.get(p) != places[p] for p in ahead):
        raise Ahead(places, ahead)
    return places


@asynccontextmanager
async def stored_with(
    connection: Connection, records: Sequence[Record], cluster_id: str, gaps: Mapping[Partition, int]
) -> AsyncIterator[Callable[[Record], bool]]:
    """One transaction for the effect of a batch and for its places; yields whether a record is yet to be done.

    Raises Ahead and KafkaReplaced, as `begin`.
    """
    async with connection.transaction():
        places = await begin(connection, records, cluster_id, gaps)

        def is_new(record: Record) -> bool:
            return record.offset >= places[record.topic, record.partition]  # type: ignore[index]

        yield is_new
        if fresh := [record for record in records if is_new(record)]:
            await store(connection, after(fresh))


async def store(connection: Connection, next_offsets: Mapping[Partition, int]) -> None:
    """Store the places after the last records of the batch."""
    await connection.execute(
        _STORE, [p.topic for p in next_offsets], [p.partition for p in next_offsets], list(next_offsets.values())
    )


async def stored(connection: Connection, partitions: Collection[Partition], cluster_id: str) -> dict[Partition, int]:
    """The next offsets of those partitions that have been consumed. Raises KafkaReplaced."""
    rows = await connection.fetch(_READ, [p.topic for p in partitions], [p.partition for p in partitions])
    return _places(rows, cluster_id)


async def reset(connection: Connection) -> None:
    """Start the topics from the beginning."""
    await connection.execute("DELETE FROM consumed_offsets")
    log.info("the places are forgotten")


def after(records: Iterable[Record]) -> dict[Partition, int]:
    """The next offset of each partition once these records, in order, are done."""
    last = {(record.topic, record.partition): record.offset for record in records}
    return {Partition(*partition): offset + 1 for partition, offset in last.items()}


def first(records: Sequence[Record]) -> dict[Partition, int]:
    """The offset at which each partition begins in these records."""
    first = {(record.topic, record.partition): record.offset for record in reversed(records)}
    return {Partition(*partition): offset for partition, offset in first.items()}


_INSERT = """
INSERT INTO consumed_offsets (topic, partition, next_offset, cluster_id)
SELECT topic, partition, 0, $3 FROM unnest($1::text[], $2::int[]) AS wanted (topic, partition)
WHERE NOT EXISTS (SELECT FROM consumed_offsets o WHERE (o.topic, o.partition) = (wanted.topic, wanted.partition))
ORDER BY topic, partition ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT topic, partition, next_offset, cluster_id FROM consumed_offsets
WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int[]))
ORDER BY topic, partition FOR UPDATE
"""
_READ = """
SELECT topic, partition, next_offset, cluster_id FROM consumed_offsets
WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int[]))
"""
_STORE = """
UPDATE consumed_offsets o SET next_offset = n.next_offset
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS n (topic, partition, next_offset)
WHERE (o.topic, o.partition) = (n.topic, n.partition)
"""
