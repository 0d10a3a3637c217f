"""Imports and the API against the model of their rules, over drawn histories (`tests/support/rules.py`)."""

from dataclasses import replace

import asyncpg
import pytest
from customers_api.consumer import ImportConsumers
from customers_api.settings import WorkSettings
from histories import History, held
from rules import FIELDS, Person
from told import told
from vapteke_shared.events import CustomerEvent
from vapteke_shared.health import Health


async def run(pool: asyncpg.Pool, settings: WorkSettings, seed: int, steps: int) -> None:
    two = [ImportConsumers(settings, pool, Health()) for _ in range(2)]
    history = History(pool, two, seed)
    for number in range(steps):
        kind = await history.step()
        found = await held(pool)
        at = f"seed {seed}, step {number}: {kind}"
        assert found.people == history.model.people, at
        assert found.mirrors == history.model.mirrors, at
    await check_events(pool, history)


async def check_events(pool: asyncpg.Pool, history: History) -> None:
    """Each customer's events have every version once, in order, and the last one is how the customer is."""
    versions: dict[int, list[int]] = {}
    last: dict[int, CustomerEvent] = {}
    for event in await told(pool):
        versions.setdefault(event.id, []).append(event.version)
        last[event.id] = event
    assert versions == {customer_id: list(range(1, len(each) + 1)) for customer_id, each in versions.items()}
    assert {customer_id: as_told(event) for customer_id, event in last.items()} == {
        customer_id: replace(person, phone_from=None) for customer_id, person in history.model.people.items()
    }


def as_told(event: CustomerEvent) -> Person:
    """All but who gave the phone, which is nobody else's business."""
    fields = {name: getattr(event, name) for name in FIELDS}
    return Person(event.phone, None, fields, event.last_auth_at, event.deleted_at is not None)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_short_history_ends_as_the_rules_say(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> None:
    await run(pool, settings, seed, 300)


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [3, 4, 5])
async def test_a_long_history_ends_as_the_rules_say(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> None:
    await run(pool, settings, seed, 10_000)
