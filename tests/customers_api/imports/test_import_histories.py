"""Histories of imports of all kinds, done to the real customers-api on Postgres: every promise is kept."""

import random

import asyncpg
import pytest
from customers_api.imports.consumers import ImportConsumers
from import_histories import History
from import_promises import Broken
from import_rules import OFTEN, Rule
from postgres_customers_api import PostgresCustomersApi


async def run(pool: asyncpg.Pool, consumers: ImportConsumers, seed: int) -> None:
    draw = random.Random(seed)
    api = PostgresCustomersApi(pool, consumers, applies_deletions=draw.random() < 0.8)
    await api.begin(joined=(3, 6))
    history = History(api, draw, often=OFTEN[draw.choice(list(Rule))], leaves_named_rows=True)
    try:
        await history.run(25)
    except Broken as error:
        error.add_note(f"seed {seed}: {', '.join(history.steps)}")
        raise


@pytest.mark.parametrize("seed", range(20))
async def test_no_history_breaks_a_promise(pool: asyncpg.Pool, consumers: ImportConsumers, seed: int) -> None:
    await run(pool, consumers, seed)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(20, 420))
async def test_no_history_of_hundreds_breaks_a_promise(
    pool: asyncpg.Pool, consumers: ImportConsumers, seed: int
) -> None:
    await run(pool, consumers, seed)
