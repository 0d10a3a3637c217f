"""How far a consumer has read each partition, beside the offsets that are stored: pure, the consumer acts on it."""

from collections.abc import Iterable, Mapping, Sequence

from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.partitions import Partition
from vapteke_shared.messaging.stored_offsets import Record


class Reading:
    """The state of one consumer's reading.

    `reached`: up to here everything was read without a break, and is done; a partition whose reading was broken is
    not in it. A transaction that stores offsets advances it.
    """

    def __init__(self) -> None:
        self.reached: dict[Partition, int] = {}
        self._delivered: dict[Partition, int] = {}  # the offset after the last record that came, done or not
        self._in_hand: set[Partition] = set()
        self._went_back: set[Partition] = set()  # and nothing has come since
        self._due: set[Partition] = set()  # to be sought

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Whatever was read before, these begin at their stored offsets."""
        self._due = set(partitions)
        self.reached.clear()
        self._delivered.clear()
        self._went_back.clear()

    def take(self, records: Sequence[Record]) -> dict[Partition, int]:
        """A batch has come, and is in hand until it is let go, done or not.

        Returns how many offsets are missing between where a partition went back to and where it begins now.
        """
        begins = stored_offsets.first(records)
        returned = self._went_back.intersection(begins, self.reached)
        self._went_back -= begins.keys()
        self._delivered.update(stored_offsets.after(records))
        self._in_hand = set(begins)
        return {p: begins[p] - self.reached[p] for p in returned if begins[p] > self.reached[p]}

    def let_go(self) -> None:
        self._in_hand = set()

    @property
    def settled(self) -> dict[Partition, int]:
        """The offsets after what has come and is not in hand: if nothing was left out, no stored offset is below."""
        return {p: offset for p, offset in self._delivered.items() if p not in self._in_hand}

    def compare(self, settled: Mapping[Partition, int], stored: Mapping[Partition, int]) -> None:
        """Partitions of which something was left out, or whose stored offset was set back, are to be sought.

        `stored` must have been read after `settled`.
        """
        self._due |= {p for p, offset in settled.items() if stored.get(p, 0) < offset}

    def due(self, assigned: Iterable[Partition]) -> set[Partition]:
        """Which of these are to be sought now. Their reading is broken: what is in hand came before."""
        due = self._due.intersection(assigned)
        self._due -= due
        for partition in due:
            self.reached.pop(partition, None)
            self._delivered.pop(partition, None)
        return due

    def go_back(self, partition: Partition, offset: int) -> None:
        """Reading begins again at the stored offset; nothing that came later is in hand."""
        self.reached[partition] = self._delivered[partition] = offset
        self._went_back.add(partition)

    def first_waiting(self, partition: Partition, stored: int, position: int) -> int:
        """Where the records that wait begin: at the stored offset.

        Only if all that came is stored, and no batch is in hand, the consumer may be further: behind the last record
        may stand what no reader sees, such as the marker of a transaction.
        """
        unfinished = partition in self._in_hand or self._delivered.get(partition, 0) > stored
        return stored if unfinished else max(stored, position)
