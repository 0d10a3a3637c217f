"""What a consumer knows of its reading: from where it may go on, what it has to read again, what waits."""

from typing import NamedTuple

import pytest
from vapteke_shared.messaging.partitions import Partition
from vapteke_shared.messaging.read_positions import Reading

A, B = Partition("topic", 0), Partition("topic", 1)


class Seen(NamedTuple):
    topic: str
    partition: int
    offset: int


def seen(partition: Partition, *offsets: int) -> list[Seen]:
    return [Seen(*partition, offset) for offset in offsets]


@pytest.fixture
def reading() -> Reading:
    reading = Reading()
    reading.assign([A, B])
    reading.due([A, B])
    return reading


def test_after_an_assignment_every_partition_is_sought_once() -> None:
    reading = Reading()
    reading.assign([A, B])

    assert [reading.due([A]), reading.due([A, B]), reading.due([A, B])] == [{A}, {B}, set()]


def test_what_was_delivered_and_never_stored_is_read_again(reading: Reading) -> None:
    reading.take([*seen(A, 3, 4), *seen(B, 7)])
    reading.let_go()

    reading.compare(reading.settled, {A: 5, B: 7})

    assert reading.due([A, B]) == {B}


def test_a_batch_in_hand_is_not_taken_for_one_that_was_left_out(reading: Reading) -> None:
    reading.take(seen(A, 3, 4))

    reading.compare(reading.settled, {A: 3})

    assert reading.due([A, B]) == set()


def test_a_stored_offset_that_was_set_back_is_sought(reading: Reading) -> None:
    reading.take(seen(A, 3, 4))
    reading.reached[A] = 5
    reading.let_go()

    reading.compare(reading.settled, {})

    assert reading.due([A, B]) == {A}
    assert reading.reached == {}


def test_what_is_missing_after_going_back_is_told_once(reading: Reading) -> None:
    reading.go_back(A, 5)

    assert [reading.take(seen(A, 9)), reading.take(seen(A, 11))] == [{A: 4}, {}]


def test_going_back_without_a_gap_tells_nothing(reading: Reading) -> None:
    reading.go_back(A, 5)

    assert reading.take(seen(A, 5)) == {}


def test_records_wait_from_the_stored_offset_however_far_the_consumer_is(reading: Reading) -> None:
    reading.take(seen(A, 3, 4))
    in_hand = reading.first_waiting(A, stored=3, position=5)
    reading.let_go()

    assert (in_hand, reading.first_waiting(A, stored=3, position=5)) == (3, 3)


def test_what_no_reader_sees_behind_the_last_record_does_not_wait(reading: Reading) -> None:
    reading.take(seen(A, 3, 4))
    reading.let_go()

    assert reading.first_waiting(A, stored=5, position=6) == 6
