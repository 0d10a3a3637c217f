"""What identifies an offset: the Kafka cluster and a partition of a topic."""

from collections.abc import Mapping, MutableMapping
from typing import NamedTuple
from uuid import UUID


class Cluster(NamedTuple):
    """The ids of a Kafka cluster and of its topics. A topic that is deleted and created again gets another id."""

    id: str
    topics: Mapping[str, UUID]


class Partition(NamedTuple):
    topic: str
    partition: int


Reached = MutableMapping[Partition, int]
"""Maps a partition to an offset: all records below this offset were read without a gap and are done."""
