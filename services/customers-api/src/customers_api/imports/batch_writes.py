"""Writes what the rules have decided about a batch: new rows by COPY, changes by updates over arrays."""

import asyncio
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from sqlalchemy.dialects import postgresql

from customers_api.customers import customer_events
from customers_api.customers.tables import COLUMNS, FIELDS
from customers_api.imports.state import CustomerChange, Decision, LoadedCustomer
from customers_api.outbox.messages import Message, OutboxRow
from customers_api.schema import SCHEMA, Table

_CUSTOMER_COLUMNS = ("id", "phone_id", "phone_from", "firstname_id", *COLUMNS, "version", "created_at", "updated_at")
_MIRROR_COLUMNS = (
    "legacy_id",
    "customer_id",
    "phone_id",
    *FIELDS,
    "read_at",
    "number",
    "changed_in",
    "changed_as",
    "joined",
)


class Ids(NamedTuple):
    """The ids of phones by digits and of first names by name. Those of new rows are complete; others may be missing,
    because updates look ids up in SQL.
    """

    phones: Mapping[str, int]
    firstnames: Mapping[str, int]

    def phone(self, digits: str | None) -> int | None:
        return None if digits is None else self.phones[digits]

    def firstname(self, name: str | None) -> int | None:
        return None if name is None else self.firstnames[name]


async def write_customers(connection: asyncpg.Connection, decision: Decision, ids: Ids) -> None:
    """Write the customers that the decision creates or changes. The caller has locked the existing ones.

    Customers who lose a phone are written before those who get it, because a phone has one active holder.
    """
    if decision.accepted:
        await connection.execute(_ACCEPT, decision.accepted)
    if decision.losers:
        await connection.execute(_LOSE, decision.losers)
    if decision.created:
        rows = [_new(change.customer, ids) for change in decision.created]
        await connection.copy_records_to_table("customers", columns=_CUSTOMER_COLUMNS, records=rows)
    if decision.changed:
        await connection.execute(_CHANGE, *_columns(_changed(change.customer) for change in decision.changed))


async def write_mirror(
    connection: asyncpg.Connection, import_id: UUID, decision: Decision, ids: Ids, *, remembers: bool = True
) -> None:
    """Insert or update the mirror row of each applied row. `changed_in` and `changed_as` become the import and the
    row's class, but a rejected row keeps both. So does, if `remembers` is false, each row that has been there before.
    """
    new, changed = [], []
    for row in decision.rows:
        event, kind = row.event, decision.classes[row.index]
        reading = (event.read_at, event.number)
        if row.is_new:
            values = (event.legacy_id, row.customer_id, ids.phone(row.phone), *row.values)
            new.append((*values, *reading, import_id, kind, row.joins))
        else:
            counted = (import_id, kind) if remembers and kind != "rejected" else (None, None)
            changed.append((event.legacy_id, row.phone, *row.values, *reading, *counted))
    if new:
        await connection.copy_records_to_table("legacy_customers", columns=_MIRROR_COLUMNS, records=new)
    if changed:
        await connection.execute(_CHANGE_MIRROR, *_columns(changed))


async def events(decision: Decision) -> list[OutboxRow]:
    """Build the outbox rows with the events of all changes, ordered by customer id. The caller writes these rows.

    Other tasks run in between, so Postgres can write the customers while Python builds their events.
    """
    changes = sorted((*decision.created, *decision.changed), key=lambda change: change.customer.id)
    rows: list[OutboxRow] = []
    for start in range(0, len(changes), _EVENTS_AT_ONCE):
        rows += [customer_events.row(_event(change)) for change in changes[start : start + _EVENTS_AT_ONCE]]
        await asyncio.sleep(0)
    return rows


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _new(customer: LoadedCustomer, ids: Ids) -> tuple[Any, ...]:
    firstname, *values = customer.values
    return (
        customer.id,
        ids.phone(customer.phone),
        customer.phone_from,
        ids.firstname(firstname),
        *values,
        customer.version,
        customer.created_at,
        customer.updated_at,
    )


def _changed(customer: LoadedCustomer) -> tuple[Any, ...]:
    return (customer.id, customer.phone, customer.phone_from, *customer.values, customer.version, customer.updated_at)


def _event(change: CustomerChange) -> Message:
    customer = change.customer
    state = zip(_STATE, (*_state_of(customer), *customer.values), strict=True)
    return customer_events.message_of(change.kind, "import", change.fields, dict(state))


_EVENTS_AT_ONCE = 250
_ATTRIBUTES = ("id", "version", "phone", "created_at", "updated_at", "deleted_at")
_state_of = attrgetter(*_ATTRIBUTES)
_STATE = (*_ATTRIBUTES, *FIELDS)
_TABLE = Table.metadata.tables[f"{SCHEMA.name}.customers"]
_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]
_COLUMN_TYPES = {name: _TABLE.c[name].type.compile(_POSTGRES) for name in COLUMNS}
_TYPES = {"firstname": "text", **_COLUMN_TYPES}
_SET_VALUES = ", ".join(f"{name} = n.{name}" for name in COLUMNS)


def _unnested(**columns: str) -> str:
    """SQL that turns array parameters, from $1 on, into a relation `n`. `columns` are its columns with their types."""
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), 1))
    return f"unnest({arrays}) AS n ({', '.join(columns)})"


_ACCEPT = "UPDATE customers SET phone_from = 'import' WHERE id = ANY($1::bigint[])"
_LOSE = "UPDATE customers SET phone_id = NULL, phone_from = NULL WHERE id = ANY($1::bigint[])"

_CHANGE = f"""
UPDATE customers c SET
    phone_id = (SELECT id FROM phones WHERE digits = n.phone), phone_from = n.phone_from,
    firstname_id = (SELECT id FROM firstnames WHERE name = n.firstname), {_SET_VALUES},
    version = n.version, updated_at = n.updated_at
FROM {_unnested(id="bigint", phone="text", phone_from="text", **_TYPES, version="bigint", updated_at="timestamptz")}
WHERE c.id = n.id
"""

_MIRROR_ROWS = _unnested(
    legacy_id="bigint",
    phone="text",
    **_TYPES,
    read_at="timestamptz",
    number="bigint",
    changed_in="uuid",
    changed_as="text",
)
_CHANGE_MIRROR = f"""
UPDATE legacy_customers m SET
    phone_id = (SELECT id FROM phones WHERE digits = n.phone), firstname = n.firstname, {_SET_VALUES},
    read_at = n.read_at, number = n.number,
    changed_in = coalesce(n.changed_in, m.changed_in), changed_as = coalesce(n.changed_as, m.changed_as)
FROM {_MIRROR_ROWS}
WHERE m.legacy_id = n.legacy_id
"""
