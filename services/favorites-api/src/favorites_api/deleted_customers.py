"""Stores which customers are deleted, from their events. `favorites.py` hides the favorites of deleted customers.

The favorites of a restored customer are shown again. `erase_favorites` deletes the favorites of erased customers.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import msgspec
from msgspec import Meta
from vapteke_shared.contract.limits import INT64_MAX
from vapteke_shared.messaging import stored_offsets
from vapteke_shared.messaging.partitions import Cluster, Reached
from vapteke_shared.messaging.stored_offsets import Record
from vapteke_shared.postgres.retries import retry_conflicts

CustomerId = Annotated[int, Meta(ge=1, le=INT64_MAX)]
_ERASED = INT64_MAX
"""The version of an erased customer: no event is newer."""


class CustomerState(msgspec.Struct, frozen=True):
    """The fields of a customer event that matter here. Decoding fails if a value does not fit into Postgres."""

    id: CustomerId
    version: Annotated[int, Meta(ge=1, lt=_ERASED)]
    deleted_at: Annotated[datetime, Meta(tz=True)] | None
    changed: list[str]

    def __post_init__(self) -> None:
        """Raise OverflowError if `deleted_at`, converted to UTC, is outside the years 1 to 9999."""
        if self.deleted_at is not None:
            self.deleted_at.astimezone(UTC)

    @property
    def is_deletion_or_restoration(self) -> bool:
        """Whether the customer is deleted, or the event names `deleted_at` as changed."""
        return self.deleted_at is not None or "deleted_at" in self.changed


Decoded = tuple[Record, CustomerState | Exception]
"""A record, with the state in it or with the error if the record cannot be decoded."""


def erased(customer_id: int) -> CustomerState:
    """The state of an erased customer: deleted now, and for good, because no event has a greater version."""
    return CustomerState(customer_id, _ERASED, datetime.now(UTC), [])


@retry_conflicts
async def apply(
    connection: asyncpg.Connection,
    decoded: Sequence[Decoded],
    cluster: Cluster,
    reached: Reached,
) -> list[tuple[Record, Exception]]:
    """Store the states of a batch and the offsets of its records in one transaction.

    Records that were applied before are ignored. Returns the other records that could not be decoded, each with the
    error. They are skipped for good, because their offsets are stored too: the caller must report them. Raises
    AheadOfStoredOffset and KafkaReplaced; then nothing is stored.
    """
    records = [record for record, _ in decoded]
    async with stored_offsets.transaction(connection, records, cluster, reached) as is_new:
        fresh = [each for each in decoded if is_new(each[0])]
        await _store_newer(connection, [state for _, state in fresh if isinstance(state, CustomerState)])
    return [(record, error) for record, error in fresh if isinstance(error, Exception)]


async def _store_newer(connection: asyncpg.Connection, states: Iterable[CustomerState]) -> None:
    """Store the newest state of each customer, if that state is newer than the stored one. Safe to repeat.

    Only deletions and restorations create rows. Any other event of an active customer ends a deletion that is stored,
    because compaction may have removed the restoration. The events of a customer must come in order: nothing is stored
    for an active customer without a row, so an older deletion that came afterwards would count.
    """
    newest: dict[int, CustomerState] = {}
    changes = set()
    for state in states:
        if state.id not in newest or state.version > newest[state.id].version:
            newest[state.id] = state
        if state.is_deletion_or_restoration:
            changes.add(state.id)
    if changes:
        await connection.execute(_STORE, *_columns([newest[customer_id] for customer_id in sorted(changes)]))
    # version 1 is the creation: no deletion can come before it
    if active := [state for state in newest.values() if state.id not in changes and state.version > 1]:
        await connection.execute(_RESTORE, *_columns(active)[:2])


async def erase_favorites(connection: asyncpg.Connection) -> None:
    """Delete the favorites of erased customers. These favorites are hidden already.

    Call this regularly: a request that began before the erasure may still add a favorite.
    """
    await connection.execute(_ERASE)


def _columns(states: Sequence[CustomerState]) -> tuple[list[int], list[int], list[datetime | None]]:
    return [each.id for each in states], [each.version for each in states], [each.deleted_at for each in states]


_STORE = """
INSERT INTO deleted_customers (customer_id, version, deleted_at)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[])
ON CONFLICT (customer_id) DO UPDATE SET version = EXCLUDED.version, deleted_at = EXCLUDED.deleted_at
WHERE deleted_customers.version < EXCLUDED.version
"""
_ERASE = f"""
DELETE FROM favorites WHERE user_id = ANY (ARRAY(SELECT customer_id FROM deleted_customers WHERE version = {_ERASED}))
"""
_RESTORE = """
UPDATE deleted_customers d SET version = newer.version, deleted_at = NULL
FROM unnest($1::bigint[], $2::bigint[]) AS newer (customer_id, version)
WHERE d.customer_id = newer.customer_id AND d.version < newer.version AND d.deleted_at IS NOT NULL
"""
