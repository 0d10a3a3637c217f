"""Which customers are deleted, as their events tell: their favorites are hidden, and shown again when they are back."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import msgspec
from msgspec import Meta
from vapteke_shared.contract.limits import INT64_MAX

CustomerId = Annotated[int, Meta(ge=1, le=INT64_MAX)]
_ERASED = INT64_MAX
"""The version of a person who was erased: nothing is newer."""


class CustomerState(msgspec.Struct, frozen=True):
    """What an event on the customers' topic says of the one thing that matters here; all of it fits into Postgres."""

    id: CustomerId
    version: Annotated[int, Meta(ge=1, lt=_ERASED)]
    deleted_at: Annotated[datetime, Meta(tz=True)] | None
    changed: list[str]

    def __post_init__(self) -> None:
        """Raises OverflowError: an instant in year 1 or 9999 may be in none at all by UTC."""
        if self.deleted_at is not None:
            self.deleted_at.astimezone(UTC)

    @property
    def is_turn(self) -> bool:
        """A deletion or a restoration."""
        return self.deleted_at is not None or "deleted_at" in self.changed


def erased(customer_id: int) -> CustomerState:
    """The state of a person who was erased."""
    return CustomerState(customer_id, _ERASED, datetime.now(UTC), [])


async def follow(connection: asyncpg.Connection, states: Iterable[CustomerState]) -> None:
    """Take over what is newer than what is known. Safe to repeat.

    Only deletions and restorations make rows. Other events of the living (an import has one for each) are looked at
    for a restoration that compaction has removed; that one alone needs the order which Kafka keeps.
    """
    newest: dict[int, CustomerState] = {}
    turns = set()
    for state in states:
        if state.id not in newest or state.version > newest[state.id].version:
            newest[state.id] = state
        if state.is_turn:
            turns.add(state.id)
    if turns:
        await connection.execute(_TURN, *_columns([newest[customer_id] for customer_id in sorted(turns)]))
    # version 1 is a creation: nothing can have come before
    if living := [state for state in newest.values() if state.id not in turns and state.version > 1]:
        await connection.execute(_LIVES, *_columns(living)[:2])


async def erase_favorites(connection: asyncpg.Connection) -> None:
    """Delete the favorites of people who were erased: hidden already, they may be of a moment before."""
    await connection.execute(_ERASE)


def _columns(states: Sequence[CustomerState]) -> tuple[list[int], list[int], list[datetime | None]]:
    return [each.id for each in states], [each.version for each in states], [each.deleted_at for each in states]


_TURN = """
INSERT INTO deleted_customers (customer_id, version, deleted_at)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[])
ON CONFLICT (customer_id) DO UPDATE SET version = EXCLUDED.version, deleted_at = EXCLUDED.deleted_at
WHERE deleted_customers.version < EXCLUDED.version
"""
_ERASE = f"""
DELETE FROM favorites WHERE user_id = ANY (ARRAY(SELECT customer_id FROM deleted_customers WHERE version = {_ERASED}))
"""
_LIVES = """
UPDATE deleted_customers d SET version = newer.version, deleted_at = NULL
FROM unnest($1::bigint[], $2::bigint[]) AS newer (customer_id, version)
WHERE d.customer_id = newer.customer_id AND d.version < newer.version AND d.deleted_at IS NOT NULL
"""
