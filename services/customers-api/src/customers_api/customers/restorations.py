"""Restores deleted customers. The conventions are those of `writes.py`."""

from collections.abc import Sequence

import asyncpg
from vapteke_shared.postgres.retries import retry_conflicts

from customers_api.customers import customer_events, phone_owners, queries
from customers_api.customers.customer_events import Change, Origin
from customers_api.customers.queries import CustomerNotFound, Row
from customers_api.customers.writes import PhoneTaken


@retry_conflicts
async def restore(connection: asyncpg.Connection, customer_id: int) -> tuple[Row, Sequence[int]]:
    """Restore a deleted customer; an active one stays as it is.

    Returns the customer, and the ids of the customer and of all others whose phone has changed. Raises
    CustomerNotFound, and PhoneTaken if another active customer holds the phone that the API gave this one. If the phone
    is not from the API, the rules of imports decide again, so the customer may get another phone or none.
    """
    async with connection.transaction():
        row = await phone_owners.lock(connection, customer_id)
        if row is None:
            raise CustomerNotFound
        ids = [customer_id] if row["deleted_at"] is None else await restore_locked(connection, row, "api")
        return await queries.get(connection, customer_id), ids


async def restore_locked(connection: asyncpg.Connection, row: asyncpg.Record, origin: Origin) -> list[int]:
    """Like `restore`, in the caller's transaction, for a deleted customer whom `phone_owners.lock` has returned.

    With the origin `import`, it raises no PhoneTaken: a customer whose phone from the API is held by another active
    customer loses that phone. Returns the ids that `restore` returns.
    """
    is_from_api = row["phone_from"] == "api"
    holder = await phone_owners.holder_of(connection, row["phone_id"]) if is_from_api else None
    if holder is not None and origin == "api":
        raise PhoneTaken(holder)
    await connection.execute(_RESTORE, row["id"], row["now"], is_from_api and holder is None)
    await connection.execute(_VOID_RANGE, row["id"])
    others = await phone_owners.decide(connection, phone_owners.phones_of(row), row["id"])
    moved = row["phone_id"] != await connection.fetchval("SELECT phone_id FROM customers WHERE id = $1", row["id"])
    changed = ["phone", "deleted_at"] if moved else ["deleted_at"]
    changes = [Change(row["id"], "restored", changed), *others]
    await customer_events.add(connection, origin, changes)
    return [change.customer_id for change in changes]


# A phone from an import comes back only if nobody has a better claim by now.
_RESTORE = """
UPDATE customers SET
    deleted_at = NULL, deleted_by = NULL, version = version + 1, updated_at = $2,
    phone_id = CASE WHEN $3 THEN phone_id END, phone_from = CASE WHEN $3 THEN phone_from END
WHERE id = $1
"""

# While the customer was deleted, imports have skipped its row: the next import must read it, so the stored range that
# holds it becomes void. If an import is just storing its ranges, this statement waits for it.
_VOID_RANGE = """
UPDATE stored_ranges SET fingerprint = NULL WHERE upto_id = (
    SELECT min(s.upto_id) FROM stored_ranges s JOIN legacy_customers m ON m.customer_id = $1
    WHERE s.upto_id >= m.legacy_id
)
"""
