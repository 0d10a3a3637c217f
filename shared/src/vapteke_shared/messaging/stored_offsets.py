"""Stored offsets: a consumer keeps its offsets in Postgres, in the same transaction as the effect of the records.

The table is `consumed_offsets` (topic, partition, next_offset, cluster_id, topic_id) in the search path. See
docs/design.md, "Stored offsets".
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from asyncpg import Connection

from vapteke_shared.messaging.partitions import Cluster, Partition, Reached
from vapteke_shared.process import logs

log = logs.get(__name__)


class KafkaReplaced(Exception):
    """The stored offsets belong to another Kafka, or to a topic that was deleted and created again.

    If a consumer continued from these offsets, events would be lost or applied twice. So apply nothing until an
    operator has run `reset`.
    """


class AheadOfStoredOffset(Exception):
    """In `partitions`, the records begin above the stored offset, and the records between were not read.

    The transaction has applied nothing. Seek to the stored offsets and read the records again from there.
    """

    def __init__(self, partitions: Collection["Partition"]) -> None:
        super().__init__("the batch begins above the stored offset")
        self.partitions = partitions


class Record(Protocol):
    """The attributes of a Kafka record that this module uses."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


def _checked(rows: Iterable[Mapping[str, Any]], cluster: Cluster) -> dict[Partition, int]:
    for row in rows:
        _check_identity(row, cluster)
    return {Partition(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def _check_identity(row: Mapping[str, Any], cluster: Cluster) -> None:
    if row["cluster_id"] != cluster.id:
        raise KafkaReplaced("the stored offsets belong to another Kafka cluster")
    stored, found = row["topic_id"], cluster.topics.get(row["topic"])
    if stored and found and stored != found:
        raise KafkaReplaced(f"topic {row['topic']} was deleted and created again since its offsets were stored")


def _check_gaps(
    begins: Mapping[Partition, int], stored: Mapping[Partition, int], reached: Mapping[Partition, int]
) -> None:
    """Raise AheadOfStoredOffset if the records of a partition begin above the stored offset, unless the gap is Kafka's.

    The gap is Kafka's if the partition is in `reached`, and its offset there is not above the stored offset. Then this
    consumer has read on from that offset without interruption, so no record is missing. Kafka leaves such gaps for
    markers of transactions, and for records that were deleted or compacted.
    """
    ahead = {p for p, offset in begins.items() if offset > stored[p] and not (p in reached and reached[p] <= stored[p])}
    if ahead:
        raise AheadOfStoredOffset(ahead)


@asynccontextmanager
async def transaction(
    connection: Connection, records: Sequence[Record], cluster: Cluster, reached: Reached
) -> AsyncIterator[Callable[[Record], bool]]:
    """One transaction for the effect of the records and for their offsets. The block gets `is_new(record)`.

    The block must apply only new records. A record is new if it has not been applied before, which is when its offset
    is not below the stored offset. The transaction first locks the stored offsets, so read the state that this lock
    protects inside the block. The new offsets are stored after the block; an error in the block passes through and
    undoes everything. After the commit, `reached` has the offsets after these records. Raises AheadOfStoredOffset or
    KafkaReplaced before the block.
    """
    begins, ends = first_offsets(records), next_offsets(records)
    topics, numbers = [p.topic for p in begins], [p.partition for p in begins]
    async with connection.transaction():
        await connection.execute(_INSERT, topics, numbers, cluster.id, [cluster.topics.get(topic) for topic in topics])
        stored = _checked(await connection.fetch(_LOCK, topics, numbers), cluster)
        _check_gaps(begins, stored, reached)

        def is_new(record: Record) -> bool:
            return record.offset >= stored[record.topic, record.partition]  # type: ignore[index]

        yield is_new
        if advanced := {p: end for p, end in ends.items() if end > stored[p]}:
            names, numbers = [p.topic for p in advanced], [p.partition for p in advanced]
            await connection.execute(_STORE, names, numbers, list(advanced.values()))
    reached.update(ends)


async def read(connection: Connection, partitions: Collection[Partition], cluster: Cluster) -> dict[Partition, int]:
    """The stored offsets of `partitions`. The result lacks those that have none. Raises KafkaReplaced.

    A row without a topic id was stored by an earlier release. The current topic id is written to such a row.
    """
    rows = await connection.fetch(_READ, [p.topic for p in partitions], [p.partition for p in partitions])
    offsets = _checked(rows, cluster)
    if adopted := {row["topic"] for row in rows if row["topic_id"] is None} & cluster.topics.keys():
        await connection.execute(_ADOPT, list(adopted), [cluster.topics[topic] for topic in adopted], cluster.id)
    return offsets


async def reset(connection: Connection) -> None:
    """Delete all stored offsets of this service, so that the consumers read their topics again from the beginning."""
    await connection.execute("DELETE FROM consumed_offsets")
    log.info("stored offsets deleted")


def next_offsets(records: Iterable[Record]) -> dict[Partition, int]:
    """For each partition, the offset after its last record. The records of a partition must be in order."""
    last = {(record.topic, record.partition): record.offset for record in records}
    return {Partition(*partition): offset + 1 for partition, offset in last.items()}


def first_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    """For each partition, the offset of its first record. The records of a partition must be in order."""
    firsts = {(record.topic, record.partition): record.offset for record in reversed(records)}
    return {Partition(*partition): offset for partition, offset in firsts.items()}


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
