"""Who gets a phone when a customer is changed through the API: those whom the legacy side names come into their own."""

import asyncio
import random
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import httpx
import pytest
from customers_api.imports.consumers import ImportConsumers
from legacy_events import CLUSTER, Attempt, records
from outbox_events import events_in_outbox
from vapteke_shared.contract.events.customers import CustomerEvent

CUSTOMERS = "/rest/v1/customers/"
PHONE, OTHER = "79025163111", "79025163112"
EARLIER, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)

Phones = dict[int, str | None]


@pytest.fixture
async def rivals(consumers: ImportConsumers, pool: asyncpg.Pool, running: UUID) -> tuple[int, int]:
    """Who has the phone, and who would be next: two legacy rows name it."""
    first = Attempt(running)
    rows = [first.read(1, PHONE, last_auth_at=LATER), first.read(2, PHONE, last_auth_at=EARLIER)]
    await consumers.apply_legacy(records(rows), CLUSTER, {})
    await pool.execute("DELETE FROM outbox")
    return tuple(
        await pool.fetchrow(
            "SELECT max(id) FILTER (WHERE phone_id IS NOT NULL), max(id) FILTER (WHERE phone_id IS NULL) FROM customers"
        )
    )


async def phones(pool: asyncpg.Pool) -> Phones:
    """Of the living, by id."""
    rows = await pool.fetch(
        "SELECT c.id, p.digits FROM customers c LEFT JOIN phones p ON p.id = c.phone_id WHERE c.deleted_at IS NULL"
    )
    return dict(map(tuple, rows))


async def test_a_deletion_gives_the_phone_to_the_next(
    client: httpx.AsyncClient, pool: asyncpg.Pool, rivals: tuple[int, int]
) -> None:
    holder, other = rivals

    await client.delete(f"{CUSTOMERS}{holder}/")

    assert await phones(pool) == {other: PHONE}
    events = {
        event.id: (event.type.rpartition(".")[2], event.version, event.changed)
        for event in await events_in_outbox(pool)
    }
    assert events == {holder: ("deleted", 2, ["deleted_at"]), other: ("phone_changed", 2, ["phone"])}


async def test_a_restoration_takes_it_back(
    client: httpx.AsyncClient, pool: asyncpg.Pool, rivals: tuple[int, int]
) -> None:
    holder, other = rivals
    await client.delete(f"{CUSTOMERS}{holder}/")
    await pool.execute("DELETE FROM outbox")

    answer = await client.post(f"{CUSTOMERS}{holder}/restore/")

    assert (answer.status_code, answer.json()["phone"], answer.headers["etag"]) == (200, PHONE, '"3"')
    assert await phones(pool) == {holder: PHONE, other: None}
    events = {event.id: (event.version, event.changed, event.phone) for event in await events_in_outbox(pool)}
    assert events == {holder: (3, ["deleted_at"], PHONE), other: (3, ["phone"], None)}


async def test_another_phone_leaves_the_old_one_to_the_next(
    client: httpx.AsyncClient, pool: asyncpg.Pool, rivals: tuple[int, int]
) -> None:
    holder, other = rivals

    await client.patch(f"{CUSTOMERS}{holder}/", json={"phone": OTHER})

    assert await phones(pool) == {holder: OTHER, other: PHONE}
    assert {event.id: (event.version, event.phone) for event in await events_in_outbox(pool)} == {
        holder: (2, OTHER),
        other: (2, PHONE),
    }


async def test_who_has_a_phone_from_the_api_claims_no_other(
    client: httpx.AsyncClient, pool: asyncpg.Pool, rivals: tuple[int, int]
) -> None:
    holder, other = rivals
    await client.patch(f"{CUSTOMERS}{other}/", json={"phone": OTHER})

    await client.delete(f"{CUSTOMERS}{holder}/")

    assert await phones(pool) == {other: OTHER}


async def test_who_comes_back_to_a_phone_from_the_api_goes_without(
    client: httpx.AsyncClient, pool: asyncpg.Pool, rivals: tuple[int, int]
) -> None:
    holder, _ = rivals
    for customer_id in rivals:
        await client.delete(f"{CUSTOMERS}{customer_id}/")
    new = (await client.post(CUSTOMERS, json={"phone": PHONE})).json()["id"]
    await pool.execute("DELETE FROM outbox")

    answer = await client.post(f"{CUSTOMERS}{holder}/restore/")

    assert (answer.status_code, answer.json()["phone"]) == (200, None)
    assert await phones(pool) == {new: PHONE, holder: None}
    [event] = await events_in_outbox(pool)
    assert (event.id, event.changed, event.phone) == (holder, ["phone", "deleted_at"], None)


async def test_fifty_changes_of_one_customers_phone_wait_for_each_other(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    customer_id = (await client.post(CUSTOMERS, json={"phone": PHONE})).json()["id"]
    path = f"{CUSTOMERS}{customer_id}/"

    answers = await asyncio.gather(*(client.patch(path, json={"phone": f"7902516{n:04}"}) for n in range(50)))

    assert [answer.status_code for answer in answers] == [200] * 50
    assert [event.version for event in await events_in_outbox(pool)] == list(range(1, 52))


async def test_writers_at_once_never_share_a_phone_nor_lose_a_step(
    client: httpx.AsyncClient, pool: asyncpg.Pool, rivals: tuple[int, int]
) -> None:
    draw = random.Random(7)
    ids = [*rivals, *[(await client.post(CUSTOMERS, json={"phone": f"7902516{n:04}"})).json()["id"] for n in range(4)]]
    pool_of_phones = [PHONE, OTHER, *[f"7902516{n:04}" for n in range(6)]]

    async def write() -> int:
        path = f"{CUSTOMERS}{draw.choice(ids)}/"
        call = draw.choice(["phone", "phone", "delete", "restore", "profile"])
        if call == "phone":
            return (await client.patch(path, json={"phone": draw.choice(pool_of_phones)})).status_code
        if call == "profile":
            return (await client.patch(path, json={"city_id": draw.randrange(9)})).status_code
        answer = client.delete(path) if call == "delete" else client.post(path + "restore/")
        return (await answer).status_code

    statuses = {status for _ in range(20) for status in await asyncio.gather(*(write() for _ in range(20)))}

    assert statuses <= {200, 404, 409}
    living = [phone for phone in (await phones(pool)).values() if phone]
    assert len(living) == len(set(living))
    last = {event.id: event for event in await events_in_outbox(pool)}
    steps: dict[int, list[CustomerEvent]] = {}
    for event in await events_in_outbox(pool):
        steps.setdefault(event.id, []).append(event)
    for seen in steps.values():
        assert [event.version for event in seen] == list(range(seen[0].version, seen[0].version + len(seen)))
        assert [event.updated_at for event in seen] == sorted(event.updated_at for event in seen)
    stored = await pool.fetch(
        "SELECT c.id, c.version, p.digits, c.city_id, c.deleted_at IS NULL FROM customers c"
        " LEFT JOIN phones p ON p.id = c.phone_id WHERE c.id = ANY($1)",
        list(last),
    )
    assert {tuple(row) for row in stored} == {
        (event.id, event.version, event.phone, event.city_id, event.deleted_at is None) for event in last.values()
    }
