"""Dead letters: records that could not be understood, kept in the dead topic of their own topic."""

from typing import NamedTuple

from aiokafka import ConsumerRecord
from prometheus_client import Counter

from vapteke_shared.contract import topics
from vapteke_shared.contract.limits import DEAD_LETTER_BYTES
from vapteke_shared.process import logs

log = logs.get(__name__)
dead = Counter("vapteke_dead_records", "Records that could not be understood", ["topic"])


class Letter(NamedTuple):
    """`topic` is where it goes; the headers say where it was, and why."""

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes


def letter(record: ConsumerRecord, reason: str) -> Letter:
    """At most 64 KiB of the value are kept. `reason` holds no values."""
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
    """Count and log a letter, once it is written."""
    dead.labels(written.headers["topic"]).inc()
    log.warning("dead letter", topic=written.topic, origin=written.key, reason=written.headers["reason"])
