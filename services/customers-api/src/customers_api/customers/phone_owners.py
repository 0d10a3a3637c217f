"""Decides who holds a phone when one customer changes, in the same transaction (docs/design.md, "Who holds a phone").

A write calls `lock`, changes the customer's row, and calls `decide`. An import applies the same rule to a whole batch,
in imports/rules.py.
"""

from collections.abc import Collection, Sequence

import asyncpg
from vapteke_shared.postgres.retries import ChangedMeanwhile, retry_conflicts

from customers_api.customers import customer_events
from customers_api.customers.customer_events import Change


async def lock(connection: asyncpg.Connection, customer_id: int, wanted: int | None = None) -> asyncpg.Record | None:
    """Lock the phones that a change of this customer can affect, and then the customers that the phones concern.

    The locks last until the caller's transaction ends. The phones are the one that the customer holds, the one that its
    mirror row names, and `wanted` (a phone's id). The customers are this one, the active holders of these phones, and
    those whose mirror rows name one of them. Phones and customers are locked in the order of their ids.

    Returns the customer, active or deleted, as it is once the locks are taken: the columns of `customer_events.STATE`,
    and as `named_phone_id` the phone that its mirror row names. Returns None if the customer does not exist. Raises
    ChangedMeanwhile if the customer's phones changed before they were locked: `retry_conflicts` then repeats the write.
    """
    await connection.execute(_QUEUE, customer_id)
    before = await connection.fetchrow(_PHONES, customer_id)
    if before is None:
        return None
    concerned = list({*phones_of(before), *([wanted] if wanted else [])})
    await connection.execute(_LOCK_PHONES, concerned)
    await connection.execute(_LOCK_CUSTOMERS, [customer_id], concerned)
    after = await connection.fetchrow(_CUSTOMER, customer_id)
    if phones_of(after) != phones_of(before):
        raise ChangedMeanwhile
    return after


@retry_conflicts
async def decide_again(connection: asyncpg.Connection, customer_ids: Sequence[int]) -> list[int]:
    """Decide again who holds the phones that these customers hold or that their mirror rows name, in one transaction.

    Returns the ids of the customers whose phone has changed. Safe to repeat.
    """
    async with connection.transaction():
        before = await connection.fetch(_PHONES_OF_ALL, customer_ids)
        locked = await connection.fetch(_LOCK_PHONES, [row["phone_id"] for row in before])
        concerned = [row["id"] for row in locked]  # an orphan names a phone that does not exist
        await connection.execute(_LOCK_CUSTOMERS, customer_ids, concerned)
        if await connection.fetch(_PHONES_OF_ALL, customer_ids) != before:
            raise ChangedMeanwhile
        changes = await decide(connection, concerned, changing=None)
        await customer_events.add(connection, "import", changes)
    return [change.customer_id for change in changes]


def phones_of(customer: asyncpg.Record) -> set[int]:
    return {customer["phone_id"], customer["named_phone_id"]} - {None}


async def holder_of(connection: asyncpg.Connection, phone_id: int) -> int | None:
    """The id of the active customer who holds this phone. None: nobody holds it."""
    return await connection.fetchval(_HOLDER, phone_id)  # type: ignore[no-any-return]


async def decide(connection: asyncpg.Connection, phone_ids: Collection[int], changing: int | None) -> list[Change]:
    """Give each of these phones to its owner, according to the rows as they are now; without an owner, to nobody.

    Call `lock` and write the change of the customer `changing` before; None: no customer is changing. This function
    updates the rows of all customers who lose or get a phone, but gives no new version to `changing`. Returns the
    changes of the other customers, in the order of their ids. The caller writes the events of these changes, and the
    new version and the event of `changing`.
    """
    decided = await connection.fetch(_OWNERS, list(phone_ids))
    moved = [row for row in decided if row["owner_id"] != row["holder_id"]]
    losers = [row["holder_id"] for row in moved if row["holder_id"] is not None]
    gains = [row for row in moved if row["owner_id"] is not None]
    if losers:
        await connection.execute(_LOSE, losers, changing)
    if gains:
        await connection.execute(_GAIN, [g["phone_id"] for g in gains], [g["owner_id"] for g in gains], changing)
    others = {*losers, *(gain["owner_id"] for gain in gains)} - {changing}
    return [Change(customer_id, "phone_changed", ["phone"]) for customer_id in sorted(others)]


# Changes of one customer's phone queue here. If they queued at the row locks, each commit would make all others retry.
_QUEUE = "SELECT pg_advisory_xact_lock(hashtextextended('customers.phone of ' || $1::bigint, 0))"

_PHONES = """
SELECT c.phone_id, m.phone_id AS named_phone_id
FROM customers c LEFT JOIN legacy_customers m ON m.customer_id = c.id WHERE c.id = $1
"""

_PHONES_OF_ALL = """
SELECT phone_id FROM customers WHERE id = ANY($1) AND phone_id IS NOT NULL
UNION SELECT phone_id FROM legacy_customers WHERE customer_id = ANY($1) AND phone_id IS NOT NULL ORDER BY 1
"""

_CUSTOMER = f"""
SELECT state.*, m.phone_id AS named_phone_id
FROM ({customer_events.STATE} WHERE c.id = $1) AS state LEFT JOIN legacy_customers m ON m.customer_id = state.id
"""

_LOCK_PHONES = "SELECT id FROM phones WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"

_LOCK_CUSTOMERS = """
SELECT FROM customers WHERE id IN (
    SELECT unnest($1::bigint[])
    UNION SELECT id FROM customers WHERE phone_id = ANY($2) AND deleted_at IS NULL
    UNION SELECT customer_id FROM legacy_customers WHERE phone_id = ANY($2)
) ORDER BY id FOR NO KEY UPDATE
"""

_HOLDER = "SELECT id FROM customers WHERE phone_id = $1 AND deleted_at IS NULL"

# The owner is the active customer for whom the API set the phone. Otherwise it is the greatest claimant among the
# active customers who have no phone set through the API.
_OWNERS = """
SELECT wanted.phone_id, holder.id AS holder_id, CASE WHEN holder.phone_from = 'api' THEN holder.id ELSE (
    SELECT c.id FROM legacy_customers m JOIN customers c ON c.id = m.customer_id
    WHERE m.phone_id = wanted.phone_id AND c.deleted_at IS NULL AND c.phone_from IS DISTINCT FROM 'api'
    ORDER BY m.last_auth_at DESC NULLS LAST, m.legacy_id DESC LIMIT 1
) END AS owner_id
FROM unnest($1::bigint[]) AS wanted (phone_id)
LEFT JOIN customers holder ON holder.phone_id = wanted.phone_id AND holder.deleted_at IS NULL
"""

_LOSE = """
UPDATE customers SET
    phone_id = NULL, phone_from = NULL,
    version = version + (id IS DISTINCT FROM $2)::int, updated_at = statement_timestamp()
WHERE id = ANY($1)
"""

_GAIN = """
UPDATE customers c SET
    phone_id = g.phone_id, phone_from = 'import',
    version = version + (id IS DISTINCT FROM $3)::int, updated_at = statement_timestamp()
FROM unnest($1::bigint[], $2::bigint[]) AS g (phone_id, customer_id)
WHERE c.id = g.customer_id
"""
