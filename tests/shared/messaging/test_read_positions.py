"""The read positions of a consumer: where it may continue, what it must read again, and which records wait."""

from typing import NamedTuple

import pytest
from vapteke_shared.messaging.partitions import Partition
from vapteke_shared.messaging.read_positions import ReadPositions

A, B = Partition("topic", 0), Partition("topic", 1)


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int


def records(partition: Partition, *offsets: int) -> list[Record]:
    return [Record(*partition, offset) for offset in offsets]


@pytest.fixture
def positions() -> ReadPositions:
    positions = ReadPositions()
    positions.assign([A, B])
    positions.take_partitions_to_seek([A, B])
    return positions


def test_after_an_assignment_every_partition_is_sought_once() -> None:
    positions = ReadPositions()
    positions.assign([A, B])

    assert [
        positions.take_partitions_to_seek([A]),
        positions.take_partitions_to_seek([A, B]),
        positions.take_partitions_to_seek([A, B]),
    ] == [{A}, {B}, set()]


def test_a_record_that_was_delivered_but_never_stored_is_read_again(positions: ReadPositions) -> None:
    positions.begin_batch([*records(A, 3, 4), *records(B, 7)])
    positions.end_batch()

    positions.compare(positions.finished, {A: 5, B: 7})

    assert positions.take_partitions_to_seek([A, B]) == {B}


def test_a_batch_in_hand_does_not_count_as_skipped(positions: ReadPositions) -> None:
    positions.begin_batch(records(A, 3, 4))

    positions.compare(positions.finished, {A: 3})

    assert positions.take_partitions_to_seek([A, B]) == set()


def test_a_stored_offset_that_was_set_back_is_sought(positions: ReadPositions) -> None:
    positions.begin_batch(records(A, 3, 4))
    positions.reached[A] = 5
    positions.end_batch()

    positions.compare(positions.finished, {})

    assert positions.take_partitions_to_seek([A, B]) == {A}
    assert positions.reached == {}


def test_the_gap_after_going_back_is_reported_once(positions: ReadPositions) -> None:
    positions.go_back(A, 5)

    assert [positions.begin_batch(records(A, 9)), positions.begin_batch(records(A, 11))] == [{A: 4}, {}]


def test_going_back_without_a_gap_reports_none(positions: ReadPositions) -> None:
    positions.go_back(A, 5)

    assert positions.begin_batch(records(A, 5)) == {}


def test_records_wait_from_the_stored_offset_however_far_the_consumer_is(positions: ReadPositions) -> None:
    positions.begin_batch(records(A, 3, 4))
    in_hand = positions.first_waiting(A, stored=3, position=5)
    positions.end_batch()

    assert (in_hand, positions.first_waiting(A, stored=3, position=5)) == (3, 3)


def test_offsets_that_no_consumer_sees_do_not_wait(positions: ReadPositions) -> None:
    positions.begin_batch(records(A, 3, 4))
    positions.end_batch()

    assert positions.first_waiting(A, stored=5, position=6) == 6
