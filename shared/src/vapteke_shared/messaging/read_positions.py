"""How far a consumer has read each partition, compared with the stored offsets. Pure state: the consumer acts on it."""

from collections.abc import Iterable, Mapping, Sequence

from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.partitions import Partition
from vapteke_shared.messaging.stored_offsets import Record


class ReadPositions:
    """The read positions of one consumer.

    `reached` maps a partition to an offset: everything below was read without a gap and is done. A partition is
    absent after `assign` or `take_partitions_to_seek`, until a batch of it is applied or `go_back` sets its stored
    offset. `stored_offsets.transaction` advances `reached`.
    """

    def __init__(self) -> None:
        self.reached: dict[Partition, int] = {}
        self._delivered: dict[Partition, int] = {}  # the offset after the last delivered record, done or not
        self._in_hand: set[Partition] = set()  # the partitions of the current batch
        self._went_back: set[Partition] = set()  # nothing was delivered since
        self._to_seek: set[Partition] = set()

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Forget all positions: these partitions are to be read from their stored offsets."""
        self._to_seek = set(partitions)
        self.reached.clear()
        self._delivered.clear()
        self._went_back.clear()

    def begin_batch(self, records: Sequence[Record]) -> dict[Partition, int]:
        """A batch was delivered; it is in hand until `end_batch`.

        Returns, for each partition that went back, how many offsets are missing between that offset and the batch.
        """
        begins = stored_offsets.first_offsets(records)
        returned = self._went_back.intersection(begins, self.reached)
        self._went_back -= begins.keys()
        self._delivered.update(stored_offsets.next_offsets(records))
        self._in_hand = set(begins)
        return {p: begins[p] - self.reached[p] for p in returned if begins[p] > self.reached[p]}

    def end_batch(self) -> None:
        """The batch is no longer in hand, whether it is done or not."""
        self._in_hand = set()

    @property
    def finished(self) -> dict[Partition, int]:
        """The offset after the last delivered record of each partition without a batch in hand.

        A stored offset below it means that a record was skipped.
        """
        return {p: offset for p, offset in self._delivered.items() if p not in self._in_hand}

    def compare(self, finished: Mapping[Partition, int], stored: Mapping[Partition, int]) -> None:
        """Mark partitions to be read again, because records were skipped or the stored offset was set back.

        `stored` must have been read after `finished`.
        """
        self._to_seek |= {p for p, offset in finished.items() if stored.get(p, 0) < offset}

    def take_partitions_to_seek(self, assigned: Iterable[Partition]) -> set[Partition]:
        """Those of the assigned partitions that must be sought to their stored offsets. Each is returned once.

        The seek interrupts their reading, so they are no longer in `reached`.
        """
        to_seek = self._to_seek.intersection(assigned)
        self._to_seek -= to_seek
        for partition in to_seek:
            self.reached.pop(partition, None)
            self._delivered.pop(partition, None)
        return to_seek

    def go_back(self, partition: Partition, offset: int) -> None:
        """Note that the consumer was sought to this stored offset.

        A gap between it and the next batch is then accepted.
        """
        self.reached[partition] = self._delivered[partition] = offset
        self._went_back.add(partition)

    def first_waiting(self, partition: Partition, stored: int, position: int) -> int:
        """The offset of the first record that waits: the stored offset.

        Only when every delivered record is stored and no batch is in hand, the consumer's position counts if it is
        further: after the last record there may be offsets that no consumer sees, such as the marker of a transaction.
        """
        is_unfinished = partition in self._in_hand or self._delivered.get(partition, 0) > stored
        return stored if is_unfinished else max(stored, position)
