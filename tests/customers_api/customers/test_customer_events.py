"""What the world is told of a customer's changes: the text of an event, and the events of imports."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from customers_api.customers import customer_events
from customers_api.imports.consumers import ImportConsumers
from hypothesis import given
from hypothesis import strategies as st
from legacy_events import CLUSTER, READ_AT, Attempt, end_import, records, start_import
from outbox_events import events_in_outbox
from vapteke_shared.contract.events import codec
from vapteke_shared.contract.events.customers import CustomerCreated, CustomerPhoneChanged, CustomerUpdated

AT = datetime(2023, 12, 21, 4, 20, 37, 24_999, tzinfo=UTC)
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def state(**changed: Any) -> dict[str, Any]:
    """A customer's columns, more than an event has."""
    customer = {
        "id": 14722,
        "phone_id": 5,
        "version": 3,
        "phone": "79025163111",
        "firstname": 'Вик"тор',
        "lastname": None,
        "email": "user@example.com",
        "birthday": date(1980, 12, 21),
        "gender": "M",
        "city_id": 0,
        "last_auth_at": None,
        "created_at": datetime(2023, 12, 21, tzinfo=UTC),
        "updated_at": AT,
        "deleted_at": None,
    }
    return customer | changed


def test_an_event_is_this_text() -> None:
    message = customer_events.message("phone_changed", "api", ["phone"], state())

    assert message.value.decode() == (
        '{"id":14722,"version":3,"origin":"api","changed":["phone"],"phone":"79025163111",'
        '"firstname":"Вик\\"тор","lastname":null,"email":"user@example.com","birthday":"1980-12-21","gender":"M",'
        '"city_id":0,"last_auth_at":null,"created_at":"2023-12-21T00:00:00.000Z",'
        '"updated_at":"2023-12-21T04:20:37.024Z","deleted_at":null}'
    )
    assert message.key == "14722"
    assert str(UUID(message.headers["ce_id"])) == message.headers.pop("ce_id")
    assert message.headers == {
        "ce_specversion": "1.0",
        "ce_type": "vapteke.customer.phone_changed",
        "ce_source": "customers-api",
        "ce_time": "2023-12-21T04:20:37.024Z",
        "ce_subject": "14722",
        "content-type": "application/json",
    }


@given(
    st.sampled_from([("created", CustomerCreated), ("updated", CustomerUpdated)]),
    st.datetimes(
        datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from([UTC, timezone(timedelta(hours=3))])
    ),
)
def test_any_instant_is_written_in_utc_with_three_decimals(kind: Any, at: datetime) -> None:
    message = customer_events.message(kind[0], "import", [], state(last_auth_at=at, updated_at=at))

    sent = msgspec.json.decode(message.value)
    assert INSTANT.fullmatch(sent["last_auth_at"])
    assert sent["last_auth_at"] == sent["updated_at"] == message.headers["ce_time"]
    event = codec.decode(message.value, [("ce_type", message.headers["ce_type"].encode())])
    assert isinstance(event, kind[1])
    assert event.last_auth_at == at.replace(microsecond=at.microsecond // 1000 * 1000)


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
