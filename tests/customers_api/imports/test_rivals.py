"""Rivals for phones by the thousand, over 8 partitions and two consumers; and the API among them."""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest
from customers_api.customers import restorations, writes
from customers_api.customers.queries import CustomerNotFound
from customers_api.customers.writes import PhoneTaken
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from histories import DAY, FIELDS, PHONES, History, Row, held
from legacy_events import start_import
from vapteke_shared.process.health import Health

PAIRS = 1000
FEW = PHONES[:5]
EDITED = ("firstname", "lastname", "email")
Edits = dict[tuple[int, str], str]
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
    await history.imported([history.reading()])
    found = await held(pool)
    assert (found.people, found.mirrors) == (history.model.people, history.model.mirrors)


@pytest.mark.timeout(900)
async def test_a_thousand_pairs_swap_and_a_thousand_duplicates_come(history: History, pool: asyncpg.Pool) -> None:
    history.legacy.rows = {number: Row(phone(number), NAMELESS, DAY) for number in range(2 * PAIRS)}
    await imported(history, pool)
    swapped = {number: replace(history.legacy.rows[number ^ 1]) for number in range(2 * PAIRS)}
    later = {
        2 * PAIRS + number: Row(phone(number), NAMELESS, DAY + timedelta(days=number % 3 - 1))
        for number in range(PAIRS)
    }
    history.legacy.rows = swapped | later
    await imported(history, pool)
    written = await pool.fetch(WRITTEN)

    await imported(history, pool)

    assert await pool.fetch(WRITTEN) == written
    assert await pool.fetchval(DEADLOCKS) == 0


async def storm(history: History, pool: asyncpg.Pool, draw: random.Random, rounds: int) -> None:
    """Imports and the API at once: what comes of each depends on who is first; whose a phone is does not, and no edit
    is lost."""
    edits: Edits = {}
    for _ in range(rounds):
        rows = {draw.randrange(16): Row(draw.choice(FEW), NAMELESS, days(draw)) for _ in range(12)}
        history.legacy.rows |= rows
        won, queues = await history.published(await start_import(pool), [history.reading()])
        delivered = asyncio.create_task(history.deliver(queues))
        calls = [
            api(pool, random.Random(draw.random()), edits, name, delivered) for name in (*EDITED, None, None, None)
        ]
        await asyncio.gather(delivered, *calls)
        status, _ = await history.verdict(won, len(history.legacy.rows))

        found = await held(pool)
        assert status == "completed"
        assert found.people == found.decided().people
        assert {key: found.people[key[0]].fields[key[1]] for key in edits} == edits
    assert await pool.fetchval(DEADLOCKS) == 0


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_meets_each_phone_is_its_owners(history: History, pool: asyncpg.Pool, seed: int) -> None:
    await storm(history, pool, random.Random(seed), 15)


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_whoever_meets_for_minutes_each_phone_is_its_owners(history: History, pool: asyncpg.Pool) -> None:
    await storm(history, pool, random.Random(3), 400)


def days(draw: random.Random) -> datetime | None:
    return draw.choice([None, DAY + timedelta(days=draw.randrange(30))])


async def api(
    pool: asyncpg.Pool, draw: random.Random, edits: Edits, name: str | None, until: asyncio.Task[None]
) -> None:
    """`name` is the one field that this caller edits, and nobody else."""
    while not until.done():
        async with pool.acquire() as connection:
            who = await connection.fetchval("SELECT id FROM customers ORDER BY random() LIMIT 1")
            with suppress(PhoneTaken, CustomerNotFound):
                if name and who and draw.random() < 0.5:
                    value = f"a{draw.randrange(1000)}"
                    await writes.update(connection, who, {name: value})
                    edits[who, name] = value
                else:
                    await _something(connection, draw, who)


async def _something(connection: asyncpg.Connection, draw: random.Random, who: int | None) -> None:
    kind = draw.choice(["create", "change", "change", "delete", "restore", "restore"])
    if kind == "create" or who is None:
        await writes.create(connection, draw.choice(FEW), {})
    elif kind == "change":
        await writes.change_phone(connection, who, draw.choice(FEW))
    elif kind == "delete":
        await writes.delete(connection, who)
    else:
        await restorations.restore(connection, who)
