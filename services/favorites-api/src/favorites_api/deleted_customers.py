"""Which customers are deleted, as their events tell: their favorites are hidden, and shown again when they are back."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg
import msgspec


class CustomerState(msgspec.Struct, frozen=True):
    """What an event on the customers' topic says of the one thing that matters here."""

    id: int
    version: int
    deleted_at: datetime | None
    changed: list[str]

    @property
    def is_turn(self) -> bool:
        """A deletion or a restoration."""
        return self.deleted_at is not None or "deleted_at" in self.changed


async def follow(connection: asyncpg.Connection, states: Iterable[CustomerState]) -> None:
    """Take over what is newer than what is known. Safe in any order, and to repeat.

    Only deletions and restorations make rows. Other events of the living (an import has one for each) are looked at
    for a restoration that compaction has removed.
    """
    newest: dict[int, CustomerState] = {}
    turns = set()
    for state in states:
        if state.id not in newest or state.version > newest[state.id].version:
            newest[state.id] = state
        if state.is_turn:
            turns.add(state.id)
    if turns:
        await connection.execute(_TURN, *_columns(newest[customer_id] for customer_id in sorted(turns)))
    # version 1 is a creation: nothing can have come before
    if living := [state for state in newest.values() if state.id not in turns and state.version > 1]:
        await connection.execute(_LIVES, *_columns(living)[:2])


async def erase(connection: asyncpg.Connection, customer_ids: Sequence[int]) -> None:
    """Delete the favorites of people who were erased, and let nobody add any: there is no way back."""
    if not customer_ids:
        return
    await connection.execute(_ERASED, customer_ids, [_LAST] * len(customer_ids))
    await connection.execute("DELETE FROM favorites WHERE user_id = ANY($1)", customer_ids)


def _columns(states: Iterable[CustomerState]) -> tuple[list[int], list[int], list[datetime | None]]:
    rows = list(states)
    return [row.id for row in rows], [row.version for row in rows], [row.deleted_at for row in rows]


_LAST = 2**63 - 1
_TURN = """
INSERT INTO deleted_customers (customer_id, version, deleted_at)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[])
ON CONFLICT (customer_id) DO UPDATE SET version = EXCLUDED.version, deleted_at = EXCLUDED.deleted_at
WHERE deleted_customers.version < EXCLUDED.version
"""
_LIVES = """
UPDATE deleted_customers d SET version = newer.version, deleted_at = NULL
FROM unnest($1::bigint[], $2::bigint[]) AS newer (customer_id, version)
WHERE d.customer_id = newer.customer_id AND d.version < newer.version AND d.deleted_at IS NOT NULL
"""
_ERASED = """
INSERT INTO deleted_customers (customer_id, version, deleted_at)
SELECT customer_id, version, now() FROM unnest($1::bigint[], $2::bigint[]) AS erased (customer_id, version)
ON CONFLICT (customer_id) DO UPDATE SET version = EXCLUDED.version, deleted_at = EXCLUDED.deleted_at
"""
