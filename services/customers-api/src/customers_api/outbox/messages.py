"""Messages for Kafka: written with the change and sent by the relay (docs/design.md, "The outbox")."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.messaging.dead_letters import DeadLetter

SOURCE = "customers-api"
_TOPICS = {topic.name for topic in topics.ALL}


class NeverSent(ValueError):
    """Kafka would never accept this message. The error's text contains no values."""


class Message(NamedTuple):
    """A record to be sent; its topic is given to `add`."""

    key: str
    headers: dict[str, str]
    value: bytes


def message(key: str, event: Event) -> Message:
    headers = {name: content.decode() for name, content in codec.headers(event, SOURCE, key)}
    return Message(key, headers, codec.encode(event))


def of_letters(letters: Iterable[DeadLetter]) -> list[Message]:
    return [Message(letter.key, letter.headers, letter.value) for letter in letters]


async def add(connection: asyncpg.Connection, topic: str, messages: Sequence[Message]) -> None:
    """Write messages in the caller's transaction. They are sent in this order after its commit.

    Raises NeverSent: such a message would block everything that is written to its topic later.
    """
    if topic not in _TOPICS:
        raise NeverSent(f"{topic} is not a topic that `vapteke-topics` creates")
    headers = [msgspec.json.encode(m.headers) for m in messages]
    for m, encoded in zip(messages, headers, strict=True):
        size = len(m.key.encode()) + len(encoded) + len(m.value)
        if size > limits.RECORD_BYTES:
            raise NeverSent(f"the message has {size} bytes; {topic} takes at most {limits.RECORD_BYTES}")
    rows = [m.key for m in messages], [encoded.decode() for encoded in headers], [m.value for m in messages]
    await connection.execute(_ADD, topic, *rows)


_ADD = """
INSERT INTO outbox (topic, key, headers, value)
SELECT $1, key, headers, value
FROM unnest($2::text[], $3::jsonb[], $4::bytea[]) WITH ORDINALITY AS m (key, headers, value, place) ORDER BY place
"""
