"""Messages for Kafka: a transaction writes them, and the relay sends them (docs/design.md, "The outbox")."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract import limits, topics
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.event import Event
from vapteke_shared.messaging.dead_letters import DeadLetter

SOURCE = "customers-api"
_TOPICS = {topic.name for topic in topics.ALL}


OutboxRow = tuple[str, str, str, bytes]
"""The values of COLUMNS."""


class NeverSent(ValueError):
    """The outbox does not take this message, and a retry does not help.

    Its topic is not in `topics.ALL`, or it is larger than `limits.RECORD_BYTES`, a little less than Kafka's limit. The
    error's text contains nothing of the message's content, so it can be logged.
    """


class Message(NamedTuple):
    """A record to be sent to Kafka. It does not name its topic: `row` and `add` take the topic."""

    key: str
    headers: dict[str, str]
    value: bytes


def message(key: str, event: Event) -> Message:
    headers = {name: content.decode() for name, content in codec.headers(event, SOURCE, key)}
    return Message(key, headers, codec.encode(event))


def of_letters(letters: Iterable[DeadLetter]) -> list[Message]:
    return [Message(letter.key, letter.headers, letter.value) for letter in letters]


def row(topic: str, message: Message) -> OutboxRow:
    """The values of `COLUMNS` for a message to this topic.

    Raises NeverSent if the topic is unknown or the message is too large. The relay could not send such a message, and
    later messages to its topic would wait behind it for ever.
    """
    if topic not in _TOPICS:
        raise NeverSent(f"{topic} is not a topic that `vapteke-topics` creates")
    headers = msgspec.json.encode(message.headers)
    size = len(message.key.encode()) + len(headers) + len(message.value)
    if size > limits.RECORD_BYTES:
        raise NeverSent(f"the message has {size} bytes; {topic} takes at most {limits.RECORD_BYTES}")
    return topic, message.key, headers.decode(), message.value


def add(connection: asyncpg.Connection, topic: str, messages: Sequence[Message]) -> Awaitable[None]:
    """Write messages to one topic, in the caller's transaction. The relay sends them in this order after the commit.

    Messages of two transactions are sent in the order of the writes only if one waits for the other, such as for the
    lock of the customer's row. Raises NeverSent, before anything is written, if `row` rejects one of the messages.
    """
    return write(connection, [row(topic, message) for message in messages])


async def write(connection: asyncpg.Connection, rows: Sequence[OutboxRow]) -> None:
    """Write what `row` has made of messages, in the caller's transaction and in this order."""
    if len(rows) > _INSERTED_ROWS:
        await connection.copy_records_to_table("outbox", records=rows, columns=COLUMNS)
    elif rows:
        await connection.execute(_ADD, *map(list, zip(*rows, strict=True)))


def insert_after(written: str) -> str:
    """SQL that writes one message if the CTE named `written` has a row. $1 to $4 are the message's `row`.

    Append it to the WITH clause that defines the CTE, which must not have more than one row. The SQL returns the id of
    the message in the outbox, or no row if the CTE has none.
    """
    return f"{_INSERT} SELECT $1::text, $2::text, $3::jsonb, $4::bytea FROM {written} RETURNING id"


COLUMNS = ("topic", "key", "headers", "value")
_INSERTED_ROWS = 100
"""INSERT writes up to this many rows. For more, COPY is faster, although asyncpg first asks for the columns' types."""
_INSERT = f"INSERT INTO outbox ({', '.join(COLUMNS)})"
_ADD = f"""
{_INSERT} SELECT topic, key, headers, value
FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::bytea[]) WITH ORDINALITY AS m (topic, key, headers, value, place)
ORDER BY place
"""
