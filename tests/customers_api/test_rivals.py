"""Rivals for phones by the thousand, over 8 partitions and two consumers; and the API among them."""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest
from customers_api import customers
from customers_api.consumer import ImportConsumers
from customers_api.customers import CustomerNotFound, PhoneTaken
from customers_api.settings import WorkSettings
from histories import DAY, FIELDS, PHONES, History, Row, held
from legacy_events import start_import
from vapteke_shared.health import Health

PAIRS = 1000
NAMELESS = dict.fromkeys(FIELDS)
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
WRITTEN = """
SELECT md5(string_agg(concat(ctid, xmin), ',' ORDER BY ctid)) FROM customers
UNION ALL SELECT md5(string_agg(concat(ctid, xmin), ',' ORDER BY ctid)) FROM legacy_customers
UNION ALL SELECT count(*)::text FROM phones
UNION ALL SELECT count(*)::text FROM outbox WHERE topic = 'vapteke.customers.v1'
"""


@pytest.fixture
def history(pool: asyncpg.Pool, settings: WorkSettings) -> History:
    return History(pool, [ImportConsumers(settings, pool, Health()) for _ in range(2)], 1)


def phone(number: int) -> str:
    return f"7903{number:07}"


async def imported(history: History, pool: asyncpg.Pool) -> None:
    won, queues = history.published(await start_import(pool), [history.table])
    await history.deliver(queues)
    await history.check_verdict(won, [history.table])
    found = await held(pool)
    assert (found.people, found.mirrors) == (history.model.people, history.model.mirrors)


@pytest.mark.timeout(300)
async def test_a_thousand_pairs_swap_and_a_thousand_duplicates_come(history: History, pool: asyncpg.Pool) -> None:
    history.table = {number: Row(phone(number), NAMELESS, DAY) for number in range(2 * PAIRS)}
    await imported(history, pool)
    swapped = {number: replace(history.table[number ^ 1]) for number in range(2 * PAIRS)}
    later = {
        2 * PAIRS + number: Row(phone(number), NAMELESS, DAY + timedelta(days=number % 3 - 1))
        for number in range(PAIRS)
    }
    history.table = swapped | later
    await imported(history, pool)
    written = await pool.fetch(WRITTEN)

    await imported(history, pool)

    assert await pool.fetch(WRITTEN) == written
    assert await pool.fetchval(DEADLOCKS) == 0


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_meets_each_phone_is_its_owners(history: History, pool: asyncpg.Pool, seed: int) -> None:
    """Imports and the API at once: what comes of each depends on who is first, whose a phone is does not."""
    draw = random.Random(seed)
    for _ in range(12):
        history.table |= {draw.randrange(40): Row(draw.choice(PHONES), NAMELESS, days(draw)) for _ in range(25)}
        won, queues = history.published(await start_import(pool), [history.table])
        await asyncio.gather(history.deliver(queues), *(api(pool, random.Random(draw.random())) for _ in range(4)))
        status, _ = await history.verdict(won, len(history.table))

        found = await held(pool)
        assert status == "completed"
        assert found.people == found.decided().people
    assert await pool.fetchval(DEADLOCKS) == 0


def days(draw: random.Random) -> datetime | None:
    return draw.choice([None, DAY + timedelta(days=draw.randrange(30))])


async def api(pool: asyncpg.Pool, draw: random.Random) -> None:
    for _ in range(12):
        async with pool.acquire() as connection:
            who = await connection.fetchval("SELECT id FROM customers ORDER BY random() LIMIT 1")
            with suppress(PhoneTaken, CustomerNotFound):
                match draw.choice(["create", "change", "delete", "restore"]):
                    case "create":
                        await customers.create(connection, draw.choice(PHONES), {})
                    case "change" if who:
                        await customers.change_phone(connection, who, draw.choice(PHONES))
                    case "delete" if who:
                        await customers.delete(connection, who)
                    case "restore" if who:
                        await customers.restore(connection, who)
