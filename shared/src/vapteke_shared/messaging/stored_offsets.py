"""Stored offsets: a consumer's place in Kafka, kept in the transaction that holds the effect (design, section 6).

Works on a table `consumed_offsets` (topic, partition, next_offset, cluster_id, topic_id) in the search path.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from asyncpg import Connection

from vapteke_shared.messaging.partitions import Cluster, Partition
from vapteke_shared.process import logs

log = logs.get(__name__)


class KafkaReplaced(Exception):
    """The stored offsets are of another Kafka, or of a topic made anew: applying would lose or repeat events."""


class Ahead(Exception):
    """Records begin above the stored offset of their partition, and what lies between has not been read."""

    def __init__(self, partitions: Collection["Partition"]) -> None:
        super().__init__("the batch begins above the stored offset")
        self.partitions = partitions


class Record(Protocol):
    """What is needed of a Kafka record."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


async def lock(connection: Connection, partitions: Collection[Partition], cluster: Cluster) -> dict[Partition, int]:
    """Lock the partitions' rows for this transaction, made where they are missing, and return the next offsets.

    The state that the offsets guard is to be read after this statement. Raises KafkaReplaced.
    """
    topics, numbers = [p.topic for p in partitions], [p.partition for p in partitions]
    await connection.execute(_INSERT, topics, numbers, cluster.id, [cluster.topics.get(topic) for topic in topics])
    return _places(await connection.fetch(_LOCK, topics, numbers), cluster)


def _places(rows: Iterable[Mapping[str, Any]], cluster: Cluster) -> dict[Partition, int]:
    for row in rows:
        _check_identity(row, cluster)
    return {Partition(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def _check_identity(row: Mapping[str, Any], cluster: Cluster) -> None:
    if row["cluster_id"] != cluster.id:
        raise KafkaReplaced("the stored offsets belong to another Kafka cluster")
    stored, found = row["topic_id"], cluster.topics.get(row["topic"])
    if stored and found and stored != found:
        raise KafkaReplaced(f"topic {row['topic']} was deleted and created again since its offsets were stored")


async def begin(
    connection: Connection, records: Sequence[Record], cluster: Cluster, reached: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Lock the stored offsets of the records' partitions and return them: records below are done already.

    `reached` are the offsets up to which everything was read, and done: what is missing between one of them and the
    records is a gap of Kafka's own (the marker of a transaction; records that were deleted or compacted), and
    accepted. Raises Ahead and KafkaReplaced.
    """
    begins = first(records)
    places = await lock(connection, begins.keys(), cluster)
    ahead = {p for p, offset in begins.items() if offset > places[p] and not (p in reached and reached[p] <= places[p])}
    if ahead:
        raise Ahead(ahead)
    return places


@asynccontextmanager
async def stored_with(
    connection: Connection, records: Sequence[Record], cluster: Cluster, reached: MutableMapping[Partition, int]
) -> AsyncIterator[Callable[[Record], bool]]:
    """One transaction for the effect of the records and for their offsets; yields whether a record is yet to be done.

    Once it is committed, `reached` is advanced: the next part of the same batch begins there. Raises Ahead and
    KafkaReplaced, as `begin`.
    """
    async with connection.transaction():
        places = await begin(connection, records, cluster, reached)

        def is_new(record: Record) -> bool:
            return record.offset >= places[record.topic, record.partition]  # type: ignore[index]

        yield is_new
        if fresh := [record for record in records if is_new(record)]:
            await store(connection, after(fresh))
    reached.update(after(records))


async def store(connection: Connection, next_offsets: Mapping[Partition, int]) -> None:
    """Store the places after the last records of the batch."""
    await connection.execute(
        _STORE, [p.topic for p in next_offsets], [p.partition for p in next_offsets], list(next_offsets.values())
    )


async def stored(connection: Connection, partitions: Collection[Partition], cluster: Cluster) -> dict[Partition, int]:
    """The next offsets of those partitions that have been consumed. Raises KafkaReplaced.

    Rows without a topic's id, which an earlier release has left, take the one that is seen first.
    """
    rows = await connection.fetch(_READ, [p.topic for p in partitions], [p.partition for p in partitions])
    places = _places(rows, cluster)
    if adopted := {row["topic"] for row in rows if row["topic_id"] is None} & cluster.topics.keys():
        await connection.execute(_ADOPT, list(adopted), [cluster.topics[topic] for topic in adopted], cluster.id)
    return places


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
INSERT INTO consumed_offsets (topic, partition, next_offset, cluster_id, topic_id)
SELECT topic, partition, 0, $3, topic_id
FROM unnest($1::text[], $2::int[], $4::uuid[]) AS wanted (topic, partition, topic_id)
WHERE NOT EXISTS (SELECT FROM consumed_offsets o WHERE (o.topic, o.partition) = (wanted.topic, wanted.partition))
ORDER BY topic, partition ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT topic, partition, next_offset, cluster_id, topic_id FROM consumed_offsets
WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int[]))
ORDER BY topic, partition FOR UPDATE
"""
_READ = """
SELECT topic, partition, next_offset, cluster_id, topic_id FROM consumed_offsets
WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int[]))
"""
_STORE = """
UPDATE consumed_offsets o SET next_offset = n.next_offset
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS n (topic, partition, next_offset)
WHERE (o.topic, o.partition) = (n.topic, n.partition)
"""
_ADOPT = """
UPDATE consumed_offsets o SET topic_id = n.topic_id FROM unnest($1::text[], $2::uuid[]) AS n (topic, topic_id)
WHERE o.topic = n.topic AND o.topic_id IS NULL AND o.cluster_id = $3
"""
