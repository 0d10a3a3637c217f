"""Writes to one customer: create, update, change the phone, delete, restore.

Each is a transaction that also writes the customer's event. Imports and other writes can run at the same time: phones
are locked before customers, both in the order of ids, and conflicts are retried. `updated_at` is read from the clock
after the locks are taken, so that it grows with `version`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract import phones
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import ChangedMeanwhile, retry_conflicts

from customers_api.customers import customer_events, phone_owners, queries
from customers_api.customers.customer_events import Change, Kind
from customers_api.customers.queries import CustomerNotFound, Row

Expected = Collection[int] | None
"""The customer must have one of these versions; None: any."""


class Written(NamedTuple):
    """The customer's new version, and the ids of all customers whose phone or state has changed."""

    version: int
    ids: Sequence[int]


FIELDS = ("firstname", "lastname", "email", "birthday", "gender", "city_id", "last_auth_at")


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
    """Create a customer with this phone (digits). Raises PhoneTaken."""
    phone_id, firstname_id = await _ids(connection, phone, fields.get("firstname"))
    given = {name: fields.get(name) for name in FIELDS}
    changed = ["phone", *(name for name, value in given.items() if value is not None)]
    values = [firstname_id, *(given[name] for name in FIELDS[1:])]
    customer_id = await connection.fetchval(_CREATE, phone_id, *values, _json(changed))
    if customer_id is None:
        holder = await phone_owners.holder_of(connection, phone_id)
        raise PhoneTaken(holder) if holder else ChangedMeanwhile
    return {"id": customer_id, "phone": phone, **given, "version": 1}


@retry_conflicts
async def update(
    connection: asyncpg.Connection, customer_id: int, fields: Mapping[str, Any], expected: Expected = None
) -> Row:
    """Set the given fields. Without a difference nothing is written. Raises CustomerNotFound, VersionMismatch."""
    _, firstname_id = await _ids(connection, None, fields.get("firstname"))
    async with connection.transaction():
        row = _checked(await connection.fetchrow(_LOCK, customer_id), expected)
        after = {name: fields.get(name, row[name]) for name in FIELDS[1:]}
        after["firstname"] = firstname_id if "firstname" in fields else row["firstname_id"]
        before = {**row, "firstname": row["firstname_id"]}
        changed = [name for name in FIELDS if after[name] != before[name]]
        if changed:
            await connection.execute(_UPDATE, customer_id, *(after[name] for name in FIELDS), _json(changed))
        return await queries.get(connection, customer_id)


@retry_conflicts
async def change_phone(
    connection: asyncpg.Connection, customer_id: int, phone: str, expected: Expected = None
) -> Written:
    """Give the customer this phone (digits). Its old phone goes to the customer whose legacy row names it, if any.

    Raises CustomerNotFound, VersionMismatch, PhoneTaken.
    """
    phone_id, _ = await _ids(connection, phone, None)
    async with connection.transaction():
        row = _checked(await phone_owners.lock(connection, customer_id, phone_id), expected)
        if row["phone_id"] == phone_id:
            return Written(row["version"], [customer_id])
        holder = await phone_owners.holder_of(connection, phone_id)
        if holder is not None:
            raise PhoneTaken(holder)
        await connection.execute(_CHANGE_PHONE, customer_id, phone_id)
        return await _changed(connection, Change(customer_id, "phone_changed", ["phone"]), row)


@retry_conflicts
async def delete(connection: asyncpg.Connection, customer_id: int, expected: Expected = None) -> Written:
    """Mark the customer as deleted. It keeps its fields and its phone, which another customer may get now.

    Raises CustomerNotFound, VersionMismatch.
    """
    async with connection.transaction():
        row = _checked(await phone_owners.lock(connection, customer_id), expected)
        await connection.execute(_DELETE, customer_id)
        return await _changed(connection, Change(customer_id, "deleted", ["deleted_at"]), row)


@retry_conflicts
async def restore(connection: asyncpg.Connection, customer_id: int) -> tuple[Row, Sequence[int]]:
    """Restore a deleted customer; an active one stays as it is. Returns it and the ids of all changed customers.

    Raises CustomerNotFound, and PhoneTaken if another active customer holds the phone that the API gave this one. Who
    holds a phone that came from an import is decided again instead.
    """
    async with connection.transaction():
        row = await phone_owners.lock(connection, customer_id)
        if row is None:
            raise CustomerNotFound
        ids = [customer_id] if row["deleted_at"] is None else await _restore(connection, row)
        return await queries.get(connection, customer_id), ids


async def _restore(connection: asyncpg.Connection, row: asyncpg.Record) -> list[int]:
    if row["phone_from"] == "api":
        holder = await phone_owners.holder_of(connection, row["phone_id"])
        if holder is not None:
            raise PhoneTaken(holder)
    await connection.execute(_RESTORE, row["id"])
    others = await phone_owners.decide(connection, phone_owners.phones_of(row), row["id"])
    moved = row["phone_id"] != await connection.fetchval("SELECT phone_id FROM customers WHERE id = $1", row["id"])
    changed = ["phone", "deleted_at"] if moved else ["deleted_at"]
    return await _add_events(connection, [Change(row["id"], "restored", changed), *others])


async def _changed(connection: asyncpg.Connection, change: Change, before: asyncpg.Record) -> Written:
    """Decide who holds the phone that the customer held `before`, and write the events of all changes."""
    others = []
    if before["phone_id"] is not None:
        others = await phone_owners.decide(connection, [before["phone_id"]], change.customer_id)
    return Written(before["version"] + 1, await _add_events(connection, [change, *others]))


async def _add_events(connection: asyncpg.Connection, changes: Sequence[Change]) -> list[int]:
    """Write the events of these changes and return the ids of the changed customers."""
    await customer_events.add(connection, "api", changes)
    return [change.customer_id for change in changes]


def _checked(row: asyncpg.Record | None, expected: Expected) -> asyncpg.Record:
    if row is None or row["deleted_at"] is not None:
        raise CustomerNotFound
    if expected is not None and row["version"] not in expected:
        raise VersionMismatch(row["version"])
    return row


async def _ids(connection: asyncpg.Connection, phone: str | None, firstname: str | None) -> tuple[int, int | None]:
    """The ids of a phone and a first name. New ones are inserted, in a short transaction of their own."""
    if phone is None and firstname is None:
        return 0, None
    code, number = phones.split(phone) if phone else (None, None)
    phone_id, firstname_id = await connection.fetchrow(_IDS, code, number, firstname)
    if (phone and phone_id is None) or (firstname and firstname_id is None):
        raise ChangedMeanwhile  # another transaction has just inserted it
    return phone_id, firstname_id


def _json(names: list[str]) -> str:
    return msgspec.json.encode(names).decode()


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
    coalesce((SELECT id FROM new_phone), (SELECT id FROM phones WHERE digits = $1 || $2)),
    coalesce((SELECT id FROM new_firstname), (SELECT id FROM firstnames WHERE name = $3))
"""


def _event(kind: Kind) -> str:
    """SQL that writes the event of the one row of the CTE `c`. $9 are the changed fields."""
    change = f"(SELECT c.id AS customer_id, '{kind}' AS kind, $9::json AS changed FROM c)"
    return customer_events.insert("'api'", change, "c")


# This is one statement, so after waiting for the phone's lock it still sees the customers as they were before. If one
# of them got the phone meanwhile, the unique index rejects the new row, and the write is retried.
_CREATE = f"""
WITH phone AS MATERIALIZED (SELECT id FROM phones WHERE id = $1 FOR NO KEY UPDATE),
c AS (
    INSERT INTO customers (
        phone_id, phone_from, version, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at
    )
    SELECT phone.id, 'api', 1, $2, $3, $4, $5, $6, $7, $8 FROM phone
    WHERE NOT EXISTS (SELECT FROM customers h WHERE h.phone_id = phone.id AND h.deleted_at IS NULL)
    RETURNING *
),
event AS ({_event("created")})
SELECT id FROM c
"""

_LOCK = "SELECT * FROM customers WHERE id = $1 FOR NO KEY UPDATE"

_UPDATE = f"""
WITH c AS (
    UPDATE customers SET
        firstname_id = $2, lastname = $3, email = $4, birthday = $5, gender = $6, city_id = $7, last_auth_at = $8,
        version = version + 1, updated_at = statement_timestamp()
    WHERE id = $1 RETURNING *
)
{_event("updated")}
"""

_CHANGE_PHONE = """
UPDATE customers SET phone_id = $2, phone_from = 'api', version = version + 1, updated_at = statement_timestamp()
WHERE id = $1
"""

_DELETE = """
UPDATE customers SET
    deleted_at = statement_timestamp(), version = version + 1, updated_at = statement_timestamp()
WHERE id = $1
"""

# A phone from an import comes back only if nobody has a better claim by now.
_RESTORE = """
UPDATE customers SET
    deleted_at = NULL, version = version + 1, updated_at = statement_timestamp(),
    phone_id = CASE WHEN phone_from = 'api' THEN phone_id END, phone_from = CASE WHEN phone_from = 'api' THEN 'api' END
WHERE id = $1
"""
