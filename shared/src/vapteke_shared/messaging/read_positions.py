"""How far a consumer has read each partition, compared with the stored offsets. Pure state: the consumer acts on it."""

from collections.abc import Iterable, Mapping, Sequence

from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.partitions import Partition
from vapteke_shared.messaging.stored_offsets import Record


class ReadPositions:
    """The read positions of one consumer.

    `reached` maps a partition to an offset: all records below this offset were read without a gap and are done.
    `stored_offsets.transaction` advances `reached`. `assign` and `take_partitions_to_seek` remove partitions from
    `reached`. A removed partition comes back when a batch of it is applied or by `go_back`.

    The consumer must report each assignment, each batch and each seek by these methods.
    """

    def __init__(self) -> None:
        self.reached: dict[Partition, int] = {}
        self._delivered: dict[Partition, int] = {}  # the offset after the last delivered record, done or not
        self._in_hand: set[Partition] = set()  # the partitions of the current batch
        self._went_back: set[Partition] = set()  # nothing was delivered since
        self._to_seek: set[Partition] = set()

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Forget all positions, and mark `partitions`, the new assignment, to be sought to their stored offsets."""
        self._to_seek = set(partitions)
        self.reached.clear()
        self._delivered.clear()
        self._went_back.clear()

    def begin_batch(self, records: Sequence[Record]) -> dict[Partition, int]:
        """Note that a batch was delivered, and is in hand until `end_batch`. Returns the gaps that the batch leaves.

        The result maps partitions to their number of missing offsets. A partition is in it if this is its first batch
        after `go_back`, and begins above the offset given to `go_back`. Kafka has no records between: they were deleted
        or compacted, or the offsets belong to markers of transactions. So the gap is accepted.
        """
        begins = stored_offsets.first_offsets(records)
        returned = self._went_back.intersection(begins, self.reached)
        self._went_back -= begins.keys()
        self._delivered.update(stored_offsets.next_offsets(records))
        self._in_hand = set(begins)
        return {p: begins[p] - self.reached[p] for p in returned if begins[p] > self.reached[p]}

    def end_batch(self) -> None:
        """Note that the batch is no longer in hand, whether it was applied or not."""
        self._in_hand = set()

    @property
    def finished(self) -> dict[Partition, int]:
        """The offset after the last delivered record, for each partition without a batch in hand.

        A stored offset below that offset means that a record was skipped, or that the stored offset was set back.
        """
        return {p: offset for p, offset in self._delivered.items() if p not in self._in_hand}

    def compare(self, finished: Mapping[Partition, int], stored: Mapping[Partition, int]) -> None:
        """Mark for a seek the partitions whose stored offset is below the offset in `finished`.

        Their records were skipped, or their stored offset was set back. `stored` must have been read after `finished`.
        """
        self._to_seek |= {p for p, offset in finished.items() if stored.get(p, 0) < offset}

    def take_partitions_to_seek(self, assigned: Iterable[Partition]) -> set[Partition]:
        """Return the partitions in `assigned` that are marked to be sought to their stored offsets, and unmark them.

        The caller must seek these partitions. The seek interrupts the reading, so their positions are forgotten.
        """
        to_seek = self._to_seek.intersection(assigned)
        self._to_seek -= to_seek
        for partition in to_seek:
            self.reached.pop(partition, None)
            self._delivered.pop(partition, None)
        return to_seek

    def go_back(self, partition: Partition, offset: int) -> None:
        """Note that the consumer has sought `partition` to `offset`, its stored offset. Does not seek itself.

        A gap between this offset and the next batch of the partition is then accepted.
        """
        self.reached[partition] = self._delivered[partition] = offset
        self._went_back.add(partition)

    def first_waiting(self, partition: Partition, stored: int, position: int) -> int:
        """The offset of the first record of a partition that has not been applied: normally the offset `stored`.

        The consumer's `position` counts instead if it is higher, no batch of the partition is in hand, and every
        delivered record has been applied. The offsets between `stored` and `position` then have no records: no consumer
        sees the marker of a transaction, for example.
        """
        is_unfinished = partition in self._in_hand or self._delivered.get(partition, 0) > stored
        return stored if is_unfinished else max(stored, position)
