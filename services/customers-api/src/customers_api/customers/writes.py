"""One customer: every read and write of it. The living are those that are not deleted.

Each write is a transaction of its own, safe beside imports and other writers: phones are locked before customers, each
in the order of ids; what cannot go on together is tried again. Its events are written with it. `updated_at` is the
clock behind the locks, so that it ascends with `version`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec
from sqlalchemy import bindparam
from sqlmodel import col, select
from vapteke_shared.contract import phones
from vapteke_shared.http import json_responses
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.postgres.retries import ChangedMeanwhile, retry_conflicts
from vapteke_shared.postgres.statements import Statement

from customers_api.customers import customer_events, etags, phone_owners
from customers_api.customers.customer_events import Change, Kind
from customers_api.customers.tables import Customer, Firstname, Phone

Shown = Mapping[str, Any]
"""A customer as the contract shows it, and its `version`."""


class Written(NamedTuple):
    """The customer's version now, and the ids of all whose phone or state has changed with it."""

    version: int
    ids: Sequence[int]


FIELDS = ("firstname", "lastname", "email", "birthday", "gender", "city_id", "last_auth_at")

_ONE = Statement(
    select(  # type: ignore[call-overload,misc,unused-ignore]
        Customer.id,
        col(Phone.digits).label("phone"),
        col(Firstname.name).label("firstname"),
        Customer.lastname,
        Customer.email,
        Customer.birthday,
        Customer.gender,
        Customer.city_id,
        Customer.last_auth_at,
        Customer.version,
    )
    .join(Phone, col(Phone.id) == Customer.phone_id, isouter=True)
    .join(Firstname, col(Firstname.id) == Customer.firstname_id, isouter=True)
    .where(Customer.id == bindparam("id"), col(Customer.deleted_at).is_(None))
)


def shown(customer: Shown) -> dict[str, Any]:
    """The contract's keys alone."""
    known = {name: customer[name] for name in ("id", "phone", *FIELDS)}
    return known | {"last_auth_at": json_responses.instant(customer["last_auth_at"])}


class CustomerNotFound(ProblemError):
    def __init__(self) -> None:
        super().__init__(404, "customer_not_found", "There is no such customer.")


class PhoneTaken(ProblemError):
    def __init__(self, holder_id: int) -> None:
        self.holder_id = holder_id
        detail = "The phone belongs to another customer."
        super().__init__(409, "phone_taken", detail, extensions={"customer_id": holder_id})


class VersionMismatch(ProblemError):
    def __init__(self, version: int) -> None:
        detail = "The customer has changed since the version that If-Match names; ETag is the present one."
        super().__init__(412, "version_mismatch", detail, {"ETag": etags.of(version)})


async def get(connection: asyncpg.Connection, customer_id: int) -> Shown:
    """The customer, unless deleted; raises CustomerNotFound."""
    customer = await connection.fetchrow(*_ONE(id=customer_id))
    if customer is None:
        raise CustomerNotFound
    return customer  # type: ignore[no-any-return]


@retry_conflicts
async def create(connection: asyncpg.Connection, phone: str, fields: Mapping[str, Any]) -> Shown:
    """A customer with this phone (digits); raises PhoneTaken."""
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
    connection: asyncpg.Connection, customer_id: int, fields: Mapping[str, Any], if_match: str | None = None
) -> Shown:
    """Set the given fields; what is equal already is not written. Raises CustomerNotFound, VersionMismatch."""
    _, firstname_id = await _ids(connection, None, fields.get("firstname"))
    async with connection.transaction():
        row = _checked(await connection.fetchrow(_LOCK, customer_id), if_match)
        after = {name: fields.get(name, row[name]) for name in FIELDS[1:]}
        after["firstname"] = firstname_id if "firstname" in fields else row["firstname_id"]
        before = {**row, "firstname": row["firstname_id"]}
        changed = [name for name in FIELDS if after[name] != before[name]]
        if changed:
            await connection.execute(_UPDATE, customer_id, *(after[name] for name in FIELDS), _json(changed))
        return await get(connection, customer_id)


@retry_conflicts
async def change_phone(
    connection: asyncpg.Connection, customer_id: int, phone: str, if_match: str | None = None
) -> Written:
    """Give the customer this phone (digits); its old one goes to whom the legacy side names.

    Raises CustomerNotFound, VersionMismatch, PhoneTaken.
    """
    phone_id, _ = await _ids(connection, phone, None)
    async with connection.transaction():
        row = _checked(await phone_owners.lock(connection, customer_id, phone_id), if_match)
        if row["phone_id"] == phone_id:
            return Written(row["version"], [customer_id])
        holder = await phone_owners.holder_of(connection, phone_id)
        if holder is not None:
            raise PhoneTaken(holder)
        await connection.execute(_CHANGE_PHONE, customer_id, phone_id)
        return await _tell(connection, Change(customer_id, "phone_changed", ["phone"]), row)


@retry_conflicts
async def delete(connection: asyncpg.Connection, customer_id: int, if_match: str | None = None) -> Written:
    """The customer keeps its fields and its phone, which another may get now. Raises as `update` does."""
    async with connection.transaction():
        row = _checked(await phone_owners.lock(connection, customer_id), if_match)
        await connection.execute(_DELETE, customer_id)
        return await _tell(connection, Change(customer_id, "deleted", ["deleted_at"]), row)


@retry_conflicts
async def restore(connection: asyncpg.Connection, customer_id: int) -> tuple[Shown, Sequence[int]]:
    """Bring a deleted customer back; a living one stays as it is. Returns it, and the ids of all that have changed.

    Raises CustomerNotFound, PhoneTaken.

    PhoneTaken, if another living customer holds the phone that the API gave this one; a phone from an import is
    decided anew instead.
    """
    async with connection.transaction():
        row = await phone_owners.lock(connection, customer_id)
        if row is None:
            raise CustomerNotFound
        ids = [customer_id] if row["deleted_at"] is None else await _restore(connection, row)
        return await get(connection, customer_id), ids


async def _restore(connection: asyncpg.Connection, row: asyncpg.Record) -> list[int]:
    if row["phone_from"] == "api":
        holder = await phone_owners.holder_of(connection, row["phone_id"])
        if holder is not None:
            raise PhoneTaken(holder)
    await connection.execute(_RESTORE, row["id"])
    others = await phone_owners.decide(connection, phone_owners.phones_of(row), row["id"])
    moved = row["phone_id"] != await connection.fetchval("SELECT phone_id FROM customers WHERE id = $1", row["id"])
    changed = ["phone", "deleted_at"] if moved else ["deleted_at"]
    return await _say(connection, [Change(row["id"], "restored", changed), *others])


async def _tell(connection: asyncpg.Connection, change: Change, before: asyncpg.Record) -> Written:
    """Decide who owns the phone that the customer held `before`, and say all that has changed."""
    others = []
    if before["phone_id"] is not None:
        others = await phone_owners.decide(connection, [before["phone_id"]], change.customer_id)
    return Written(before["version"] + 1, await _say(connection, [change, *others]))


async def _say(connection: asyncpg.Connection, changes: Sequence[Change]) -> list[int]:
    """Whom it is about."""
    await customer_events.add(connection, "api", changes)
    return [change.customer_id for change in changes]


def _checked(row: asyncpg.Record | None, if_match: str | None) -> asyncpg.Record:
    if row is None or row["deleted_at"] is not None:
        raise CustomerNotFound
    if if_match is not None and not etags.match(if_match, row["version"]):
        raise VersionMismatch(row["version"])
    return row


async def _ids(connection: asyncpg.Connection, phone: str | None, firstname: str | None) -> tuple[int, int | None]:
    """The ids of a phone and of a first name, inserted if they are new, in a transaction of their own."""
    if phone is None and firstname is None:
        return 0, None
    code, number = phones.split(phone) if phone else (None, None)
    phone_id, firstname_id = await connection.fetchrow(_IDS, code, number, firstname)
    if (phone and phone_id is None) or (firstname and firstname_id is None):
        raise ChangedMeanwhile  # another has inserted it meanwhile
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


def _told(kind: Kind) -> str:
    """SQL that writes the event of the CTE `c`'s one row; $9 is what has changed."""
    change = f"(SELECT c.id AS customer_id, '{kind}' AS kind, $9::json AS changed FROM c)"
    return customer_events.insert("'api'", change, "c")


# One statement: whoever waits for the phone's lock here looks at the customers as they were before, and is stopped by
# the unique index instead.
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
told AS ({_told("created")})
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
{_told("updated")}
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

# A phone from an import is given back only if nobody has a better claim by now.
_RESTORE = """
UPDATE customers SET
    deleted_at = NULL, version = version + 1, updated_at = statement_timestamp(),
    phone_id = CASE WHEN phone_from = 'api' THEN phone_id END, phone_from = CASE WHEN phone_from = 'api' THEN 'api' END
WHERE id = $1
"""
