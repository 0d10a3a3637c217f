"""What the world is told of a customer's changes, by imports."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
import pytest
from customers_api.imports.consumers import ImportConsumers
from legacy_events import CLUSTER, READ_AT, Attempt, end_import, records, start_import
from outbox_events import events_in_outbox
from vapteke_shared.contract.events.customers import CustomerCreated, CustomerPhoneChanged, CustomerUpdated

pytestmark = pytest.mark.usefixtures("running")


async def test_an_imported_customer_is_told_whole(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    seen_at = datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC)
    event = Attempt(running).read(
        7, "79025163111", firstname="Виктор", birthday=date(1980, 12, 21), city_id=0, last_auth_at=seen_at
    )

    await consumers.apply_legacy(records([event]), CLUSTER, {})

    [created] = await events_in_outbox(pool)
    customer_id = await pool.fetchval("SELECT id FROM customers")
    assert created == CustomerCreated(
        id=customer_id,
        version=1,
        origin="import",
        changed=["phone", "firstname", "birthday", "city_id", "last_auth_at"],
        phone="79025163111",
        firstname="Виктор",
        lastname=None,
        email=None,
        birthday=date(1980, 12, 21),
        gender=None,
        city_id=0,
        last_auth_at=seen_at,
        created_at=created.created_at,
        updated_at=created.created_at,
        deleted_at=None,
    )


async def test_only_what_changed_is_told_again(consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID) -> None:
    first = Attempt(running)
    rows = [first.read(1, "79000000001", lastname="Иванов"), first.read(2, "79000000002", city_id=1)]
    await consumers.apply_legacy(records(rows), CLUSTER, {})
    created = await events_in_outbox(pool)
    await end_import(pool)
    second = Attempt(await start_import(pool), read_at=READ_AT + timedelta(days=1))
    rows = [second.read(1, "79000000001", lastname="Петров"), second.read(2, "79000000002", city_id=1)]

    await consumers.apply_legacy(records(rows, 2), CLUSTER, {})

    [updated] = (await events_in_outbox(pool))[2:]
    assert isinstance(updated, CustomerUpdated)
    state = {**msgspec.structs.asdict(created[0]), "version": 2, "changed": ["lastname"], "lastname": "Петров"}
    assert msgspec.structs.asdict(updated) == {**state, "updated_at": updated.updated_at}


async def test_a_phone_that_changes_hands_is_told_of_both(
    consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID
) -> None:
    first = Attempt(running)
    await consumers.apply_legacy(records([first.read(1, "79000000001"), first.read(2, "79000000002")]), CLUSTER, {})
    await end_import(pool)
    second = Attempt(await start_import(pool), read_at=READ_AT + timedelta(days=1))

    await consumers.apply_legacy(
        records([second.read(1, "79000000002"), second.read(2, "79000000001")], 2), CLUSTER, {}
    )

    swapped = (await events_in_outbox(pool))[2:]
    assert [type(event) for event in swapped] == [CustomerPhoneChanged] * 2
    assert [(event.version, event.phone, event.changed) for event in swapped] == [
        (2, "79000000002", ["phone"]),
        (2, "79000000001", ["phone"]),
    ]
