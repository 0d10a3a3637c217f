"""Imports and the API against the model of their rules, over drawn histories (`tests/support/rules.py`)."""

import asyncpg
import pytest
from customers_api.consumer import ImportConsumers
from customers_api.settings import WorkSettings
from histories import History, held
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


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_short_history_ends_as_the_rules_say(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> None:
    await run(pool, settings, seed, 300)


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [3, 4, 5])
async def test_a_long_history_ends_as_the_rules_say(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> None:
    await run(pool, settings, seed, 10_000)
