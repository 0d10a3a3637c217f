"""Customer events: every change of a customer writes its whole state to the outbox (docs/design.md, "The outbox").

Events are written in the transaction of the change, after the customer's row was locked: one event per customer and
transaction. The SQL here builds the JSON of the classes in shared/src/vapteke_shared/contract/events/customers.py.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import asyncpg
import msgspec
from vapteke_shared.contract import topics

from customers_api.outbox.messages import SOURCE

Kind = Literal["created", "updated", "phone_changed", "deleted", "restored"]
Origin = Literal["api", "import"]


class Change(NamedTuple):
    """A change of one customer. `changed` names the fields that differ from the previous version."""

    customer_id: int
    kind: Kind
    changed: Sequence[str]


async def add(connection: asyncpg.Connection, origin: Origin, changes: Sequence[Change]) -> None:
    """Write the events of these changes in the caller's transaction, with the customers' current state."""
    ids, kinds = [change.customer_id for change in changes], [change.kind for change in changes]
    fields = [msgspec.json.encode(change.changed).decode() for change in changes]
    await connection.execute(_ADD, origin, ids, kinds, fields)


def insert(origin: str, changes: str, customers: str = "customers") -> str:
    """SQL that writes one event per row of `changes` (customer_id, kind, changed: json), ordered by customer id.

    `customers` is the table, or a CTE that has just written it. `origin` is an SQL expression.
    """
    return f"""
INSERT INTO outbox (topic, key, headers, value)
SELECT
    '{topics.CUSTOMERS.name}', c.id::text,
    jsonb_build_object(
        'ce_specversion', '1.0', 'ce_id', gen_random_uuid(), 'ce_type', 'vapteke.customer.' || e.kind,
        'ce_source', '{SOURCE}', 'ce_time', {_instant("c.updated_at")}, 'ce_subject', c.id::text,
        'content-type', 'application/json'
    ),
    convert_to(json_build_object(
        'id', c.id, 'version', c.version, 'origin', {origin}, 'changed', e.changed,
        'phone', p.digits, 'firstname', f.name, 'lastname', c.lastname, 'email', c.email, 'birthday', c.birthday,
        'gender', c.gender, 'city_id', c.city_id, 'last_auth_at', {_instant("c.last_auth_at")},
        'created_at', {_instant("c.created_at")}, 'updated_at', {_instant("c.updated_at")},
        'deleted_at', {_instant("c.deleted_at")}
    )::text, 'UTF8')
FROM {changes} AS e
JOIN {customers} AS c ON c.id = e.customer_id
LEFT JOIN phones p ON p.id = c.phone_id
LEFT JOIN firstnames f ON f.id = c.firstname_id
ORDER BY c.id
"""


def _instant(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


_ADD = insert(
    "$1::text", "(SELECT * FROM unnest($2::bigint[], $3::text[], $4::json[]) AS given (customer_id, kind, changed))"
)
