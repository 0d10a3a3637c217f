"""Imports and the API against the model of their rules, over drawn histories (`tests/support/reference_model.py`)."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import hypothesis
import pytest
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from histories import WEIGHTS, History, held
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from outbox_events import events_in_outbox
from reference_model import FIELDS, Person
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract.events.customers import CustomerCreated, CustomerEvent
from vapteke_shared.process.health import Health

TABLES = "customers, phones, firstnames, legacy_customers, imports, outbox, consumed_offsets"


def history_of(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> History:
    return History(pool, [ImportConsumers(settings, pool, Health()) for _ in range(2)], seed)


async def check(pool: asyncpg.Pool, history: History, at: str) -> None:
    found = await held(pool)
    assert found.people == history.model.people, at
    assert found.mirrors == history.model.mirrors, at


async def check_events(pool: asyncpg.Pool, history: History) -> None:
    """Each customer's events have every version once, in order, each changes what it names, and the last one is how
    the customer is."""
    versions: dict[int, list[int]] = {}
    last: dict[int, CustomerEvent] = {}
    for event in await events_in_outbox(pool):
        versions.setdefault(event.id, []).append(event.version)
        assert event.changed or isinstance(event, CustomerCreated)  # a new customer may have no value at all
        assert set(event.changed) == changed(last.get(event.id), event)
        last[event.id] = event
    assert versions == {customer_id: list(range(1, len(each) + 1)) for customer_id, each in versions.items()}
    assert {customer_id: as_told(event) for customer_id, event in last.items()} == {
        customer_id: replace(person, phone_from=None) for customer_id, person in history.model.people.items()
    }


def changed(before: CustomerEvent | None, event: CustomerEvent) -> set[str]:
    names = ("phone", *FIELDS, "last_auth_at", "deleted_at")
    return {name for name in names if getattr(event, name) != getattr(before, name, None)}


def as_told(event: CustomerEvent) -> Person:
    """All but who gave the phone, which is nobody else's business."""
    fields = {name: getattr(event, name) for name in FIELDS}
    return Person(event.phone, None, fields, event.last_auth_at, event.deleted_at is not None)


async def run(pool: asyncpg.Pool, settings: WorkSettings, seed: int, steps: int) -> None:
    history = history_of(pool, settings, seed)
    for number in range(steps):
        kind = await history.step()
        await check(pool, history, f"seed {seed}, step {number}: {kind}")
    await check_events(pool, history)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_short_history_ends_as_the_rules_say(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> None:
    await run(pool, settings, seed, 300)


@pytest.mark.prove
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [3, 4, 5])
async def test_a_long_history_ends_as_the_rules_say(pool: asyncpg.Pool, settings: WorkSettings, seed: int) -> None:
    await run(pool, settings, seed, 10_000)


class Histories(RuleBasedStateMachine):
    """Histories that Hypothesis draws, and shortens when one fails."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: asyncpg.Pool, owner: str, settings: WorkSettings) -> None:
        super().__init__()
        self._loop, self._pool = loop, pool
        self._wait_for(_emptied(owner))
        self._history = history_of(pool, settings, 0)

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @rule(kind=st.sampled_from(sorted(WEIGHTS)), draw=st.randoms())
    def step(self, kind: str, draw: random.Random) -> None:
        self._wait_for(self._history.do(kind, draw))
        self._wait_for(check(self._pool, self._history, kind))

    def teardown(self) -> None:
        self._wait_for(check_events(self._pool, self._history))


async def _emptied(owner: str) -> None:
    connection = await asyncpg.connect(owner, server_settings={"search_path": "customers"})
    await connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")
    await connection.close()


@pytest.mark.timeout(600)  # a history that fails takes minutes to shorten
async def test_no_history_that_hypothesis_draws_breaks_the_rules(
    pool: asyncpg.Pool, settings: WorkSettings, postgres_server: Postgres
) -> None:
    machine = partial(
        Histories, asyncio.get_running_loop(), pool, postgres_server.dsn_of(settings.postgres_db), settings
    )
    drawn = hypothesis.settings(max_examples=20, stateful_step_count=40, deadline=None)

    await asyncio.to_thread(run_state_machine_as_test, machine, settings=drawn)
