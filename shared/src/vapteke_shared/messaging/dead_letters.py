"""Dead letters: records that could not be understood, kept in the dead-letter topic of their topic."""

from typing import NamedTuple

from aiokafka import ConsumerRecord
from prometheus_client import Counter

from vapteke_shared.contract import topics
from vapteke_shared.contract.limits import DEAD_LETTER_BYTES
from vapteke_shared.process import logs

log = logs.get(__name__)
dead = Counter("vapteke_dead_records", "Records that could not be understood", ["topic"])


class DeadLetter(NamedTuple):
    """What is sent to a dead-letter topic for one record that could not be understood.

    `topic` is the dead-letter topic. The headers have the record's own topic, partition and offset, and the reason.
    """

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes


def from_record(record: ConsumerRecord, reason: str) -> DeadLetter:
    """The dead letter of a record, with the first DEAD_LETTER_BYTES of the record's value.

    `reason` says why the record could not be understood, and must not contain values from it.
    """
    headers = {
        "reason": reason,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "content-type": "application/octet-stream",
    }
    key = f"{record.topic}/{record.partition}/{record.offset}"
    return DeadLetter(topics.dead_letter_topic(record.topic), key, headers, (record.value or b"")[:DEAD_LETTER_BYTES])


def report(letter: DeadLetter) -> None:
    """Count and log a dead letter. Call `report` after the letter has been stored, so that no retry counts it twice."""
    dead.labels(letter.headers["topic"]).inc()
    log.warning("dead letter", topic=letter.topic, origin=letter.key, reason=letter.headers["reason"])
