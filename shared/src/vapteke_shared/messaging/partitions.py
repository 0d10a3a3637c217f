"""What a place in Kafka is told by: the Kafka, and one partition of a topic."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID


class Cluster(NamedTuple):
    """A Kafka: its id, and the ids of the topics in it. A topic that was deleted and created again has another id."""

    id: str
    topics: Mapping[str, UUID]


class Partition(NamedTuple):
    topic: str
    partition: int
