"""Writes to one customer: create, update, change the phone, delete. `restorations.py` restores one.

Call them outside a transaction. Each is one transaction, which also writes the events of all customers that it changes.
Imports and other writes can run at the same time: phones are locked before customers, both in the order of ids, and
conflicts are retried. After five attempts, the conflict is raised. The time of a change is read after the customer is
locked, so that a later version of the customer has a later `updated_at`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
from vapteke_shared.contract import phones
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import ChangedMeanwhile, retry_conflicts

from customers_api.customers import customer_events, phone_owners, queries
from customers_api.customers.customer_events import Origin
from customers_api.customers.queries import CustomerNotFound, Row
from customers_api.customers.tables import COLUMNS, FIELDS
from customers_api.outbox import messages
from customers_api.outbox.messages import Message

Expected = Collection[int] | None
"""The versions of which the customer must have one. None: any version is allowed."""


class Written(NamedTuple):
    """The customer's version after the write, and the ids of the customer and of all others whose phone has changed."""

    version: int
    ids: Sequence[int]


class PhoneTaken(ProblemError):
    def __init__(self, holder_id: int) -> None:
        self.holder_id = holder_id
        detail = "The phone belongs to another customer."
        super().__init__(409, "phone_taken", detail, extensions={"customer_id": holder_id})


class VersionMismatch(ProblemError):
    def __init__(self, version: int) -> None:
        self.version = version
        detail = "The customer has changed since the expected version. Read it again and repeat the request."
        super().__init__(412, "version_mismatch", detail)


@retry_conflicts
async def create(connection: asyncpg.Connection, phone: str, fields: Mapping[str, Any]) -> Row:
    """Create a customer with this phone (digits) and these fields, and return the customer with its version.

    Names of `FIELDS` that are missing in `fields` become null. Raises PhoneTaken if an active customer holds the phone.
    """
    phone_id, firstname_id, customer_id, now = await _ids(connection, phone, fields.get("firstname"), _IDS_OF_NEW)
    given = {name: fields.get(name) for name in FIELDS}
    changed = ["phone", *(name for name, value in given.items() if value is not None)]
    times = {"created_at": now, "updated_at": now, "deleted_at": None}
    customer = {"id": customer_id, "phone": phone, **given, "version": 1, **times}
    event = customer_events.row(customer_events.message("created", "api", changed, customer))
    values = [given[name] for name in COLUMNS]
    if await connection.fetchval(_CREATE, *event, customer_id, now, phone_id, firstname_id, *values) is None:
        holder = await phone_owners.holder_of(connection, phone_id)
        raise PhoneTaken(holder) if holder else ChangedMeanwhile
    return customer


@retry_conflicts
async def update(
    connection: asyncpg.Connection, customer_id: int, fields: Mapping[str, Any], expected: Expected = None
) -> Row:
    """Set the given fields of an active customer, and return the customer after the change. None clears a field.

    If no field differs, nothing is written. Raises CustomerNotFound, also for a deleted customer, and VersionMismatch.
    """
    firstname_id = (await _ids(connection, None, fields["firstname"]))[1] if fields.get("firstname") else None
    async with connection.transaction():
        if await connection.fetchval(_LOCK, customer_id) is None:
            raise CustomerNotFound  # or created since, but then _STATE would read a customer who is not locked
        before = _checked(await connection.fetchrow(_STATE, customer_id), expected)
        changed = [name for name in FIELDS if fields.get(name, before[name]) != before[name]]
        if not changed:
            return before  # type: ignore[no-any-return]
        after = {**_next(before), **fields}
        event = customer_events.row(customer_events.message("updated", "api", changed, after))
        firstname_id = firstname_id if "firstname" in fields else before["firstname_id"]
        values = [after[name] for name in COLUMNS]
        await connection.execute(_UPDATE, *event, customer_id, after["updated_at"], firstname_id, *values)
        return after


@retry_conflicts
async def change_phone(
    connection: asyncpg.Connection, customer_id: int, phone: str, expected: Expected = None
) -> Written:
    """Give an active customer this phone (digits). If the customer already holds the phone, nothing is written.

    The old phone goes to its greatest claimant, or to nobody (docs/design.md, "Who holds a phone"). Raises
    CustomerNotFound, also for a deleted customer, VersionMismatch, and PhoneTaken if another active customer holds the
    new phone.
    """
    phone_id, _ = await _ids(connection, phone, None)
    async with connection.transaction():
        before = _checked(await phone_owners.lock(connection, customer_id, phone_id), expected)
        if before["phone_id"] == phone_id:
            return Written(before["version"], [customer_id])
        holder = await phone_owners.holder_of(connection, phone_id)
        if holder is not None:
            raise PhoneTaken(holder)
        after = {**_next(before), "phone": phone}
        await connection.execute(_CHANGE_PHONE, customer_id, after["updated_at"], phone_id)
        return await _changed(connection, before, customer_events.message("phone_changed", "api", ["phone"], after))


@retry_conflicts
async def delete(connection: asyncpg.Connection, customer_id: int, expected: Expected = None) -> Written:
    """Mark an active customer as deleted. The row keeps all fields, but the customer no longer holds the phone.

    The phone goes to its greatest claimant, or becomes free. Raises CustomerNotFound, also if the customer is deleted
    already, and VersionMismatch. If an import deleted the customer, this makes it final, even if the row returns.
    """
    async with connection.transaction():
        before = await phone_owners.lock(connection, customer_id)
        if before is None or before["deleted_at"] is None or before["deleted_by"] is None:
            return await delete_locked(connection, _checked(before, expected), "api")
        await connection.execute("UPDATE customers SET deleted_by = NULL WHERE id = $1", customer_id)
    raise CustomerNotFound


async def delete_locked(connection: asyncpg.Connection, before: asyncpg.Record, origin: Origin) -> Written:
    """Like `delete`, in the caller's transaction, for an active customer whom `phone_owners.lock` has returned."""
    after = {**_next(before), "deleted_at": before["now"]}
    await connection.execute(_DELETE, before["id"], after["updated_at"], "import" if origin == "import" else None)
    event = customer_events.message("deleted", origin, ["deleted_at"], after)
    return await _changed(connection, before, event, origin)


async def _changed(
    connection: asyncpg.Connection, before: asyncpg.Record, event: Message, origin: Origin = "api"
) -> Written:
    """Complete a write whose caller has locked the customer with `phone_owners.lock` and changed the customer's row.

    Decide again who holds the phone that the customer held `before`. Write the customer's `event`, and the event of the
    customer who gets the phone, if there is one.
    """
    others = []
    if before["phone_id"] is not None:
        others = await phone_owners.decide(connection, [before["phone_id"]], before["id"])
    await customer_events.add(connection, origin, others, [event])
    return Written(before["version"] + 1, [before["id"], *(change.customer_id for change in others)])


def _next(before: asyncpg.Record) -> dict[str, Any]:
    """The state `before` with the next version and the time of the change; the caller sets the fields that change.

    `before` must have the columns of `customer_events.STATE`, and must have been read after the customer was locked.
    """
    return {**before, "version": before["version"] + 1, "updated_at": before["now"]}


def _checked(row: asyncpg.Record | None, expected: Expected) -> asyncpg.Record:
    if row is None or row["deleted_at"] is not None:
        raise CustomerNotFound
    if expected is not None and row["version"] not in expected:
        raise VersionMismatch(row["version"])
    return row


async def _ids(
    connection: asyncpg.Connection, phone: str | None, firstname: str | None, statement: str | None = None
) -> asyncpg.Record:
    """The ids of a phone (digits) and of a first name; None for one that is not given.

    A phone or name that has no row yet is inserted. Call this before the write's transaction, so that the new row is
    committed at once and no other write waits for it. Raises ChangedMeanwhile if another transaction has just inserted
    the same. `statement` is `_IDS`, the default, or a longer one that returns more columns.
    """
    code, number = phones.split(phone) if phone else (None, None)
    row = await connection.fetchrow(statement or _IDS, code, number, firstname)
    if (phone and row["phone_id"] is None) or (firstname and row["firstname_id"] is None):
        raise ChangedMeanwhile  # another transaction has just inserted it
    return row


def _parameters(first: int) -> str:
    """SQL: one parameter for each of `COLUMNS`, numbered from `first`."""
    return ", ".join(f"${number}" for number in range(first, first + len(COLUMNS)))


_IDS = """
WITH new_phone AS (
    INSERT INTO phones (code, number) SELECT $1::text, $2::text
    WHERE $1 IS NOT NULL AND NOT EXISTS (SELECT FROM phones WHERE digits = $1 || $2)
    ON CONFLICT DO NOTHING RETURNING id
),
new_firstname AS (
    INSERT INTO firstnames (name) SELECT $3::text
    WHERE $3 IS NOT NULL AND NOT EXISTS (SELECT FROM firstnames WHERE name = $3)
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT
    coalesce((SELECT id FROM new_phone), (SELECT id FROM phones WHERE digits = $1 || $2)) AS phone_id,
    coalesce((SELECT id FROM new_firstname), (SELECT id FROM firstnames WHERE name = $3)) AS firstname_id
"""
_IDS_OF_NEW = f"{_IDS}, nextval('customers_id_seq') AS customer_id, clock_timestamp() AS now"

# This is one statement, so after waiting for the phone's lock it still sees the customers as they were before. If one
# of them got the phone meanwhile, the unique index rejects the new row, and the write is retried.
_CREATE = f"""
WITH phone AS MATERIALIZED (SELECT id FROM phones WHERE id = $7 FOR NO KEY UPDATE),
c AS (
    INSERT INTO customers (
        id, created_at, updated_at, phone_id, phone_from, version, firstname_id, {", ".join(COLUMNS)}
    )
    SELECT $5, $6, $6, phone.id, 'api', 1, $8, {_parameters(9)} FROM phone
    WHERE NOT EXISTS (SELECT FROM customers h WHERE h.phone_id = phone.id AND h.deleted_at IS NULL)
        AND now() < $6::timestamptz + interval '{queries.BACKDATED.total_seconds()} s'
    RETURNING id
)
{messages.insert_after("c")}
"""

_LOCK = "SELECT id FROM customers WHERE id = $1 FOR NO KEY UPDATE"
_STATE = f"{customer_events.STATE} WHERE c.id = $1"

_UPDATE = f"""
WITH c AS (
    UPDATE customers SET
        version = version + 1, updated_at = $6, firstname_id = $7, ({", ".join(COLUMNS)}) = ({_parameters(8)})
    WHERE id = $5 RETURNING id
)
{messages.insert_after("c")}
"""

_CHANGE_PHONE = """
UPDATE customers SET version = version + 1, updated_at = $2, phone_id = $3, phone_from = 'api' WHERE id = $1
"""

_DELETE = """
UPDATE customers SET version = version + 1, updated_at = $2, deleted_at = $2, deleted_by = $3 WHERE id = $1
"""
