"""Dead letters: records that could not be understood, kept in the dead-letter topic of their topic."""

from typing import NamedTuple

from aiokafka import ConsumerRecord
from prometheus_client import Counter

from vapteke_shared.contract import topics
from vapteke_shared.contract.limits import DEAD_LETTER_BYTES
from vapteke_shared.process import logs

log = logs.get(__name__)
dead = Counter("vapteke_dead_records", "Records that could not be understood", ["topic"])


class Letter(NamedTuple):
    """`topic` is the dead-letter topic; the headers name the record's topic, partition and offset, and the reason."""

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes


def letter(record: ConsumerRecord, reason: str) -> Letter:
    """The dead letter of a record, with at most DEAD_LETTER_BYTES of its value. `reason` must not contain values."""
    headers = {
        "reason": reason,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "content-type": "application/octet-stream",
    }
    key = f"{record.topic}/{record.partition}/{record.offset}"
    return Letter(topics.dead_of(record.topic), key, headers, (record.value or b"")[:DEAD_LETTER_BYTES])


def tell(written: Letter) -> None:
    """Count and log a dead letter. Call it once the letter is stored."""
    dead.labels(written.headers["topic"]).inc()
    log.warning("dead letter", topic=written.topic, origin=written.key, reason=written.headers["reason"])
