"""Favorites of a deleted customer disappear and return through Kafka, with real processes and after outages."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import pytest
from running_stack import RunningStack, running_stack
from vapteke_local import vaptekesync

CUSTOMERS, FAVORITES = "/rest/v1/customers/", "/rest/v1/favorites/"
FOLLOWER = "favorites-api work 1"
WITHIN_SECONDS = 60.0
pytestmark = pytest.mark.timeout(900)

Items = list[dict[str, Any]]
_phones = count(79020000000)

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    async with vaptekesync.serve([]) as legacy, running_stack(legacy) as stack:
        yield stack


class Customer:
    """One with favorites, beside another whose favorites nothing must touch."""

    def __init__(self, stack: RunningStack, customer_id: int, other_id: int) -> None:
        self._stack, self.id, self._ids = stack, customer_id, [customer_id, other_id]
        self.both: Items = []

    @property
    def others(self) -> Items:
        return [item for item in self.both if item["user_id"] != self.id]

    async def listed(self) -> Items:
        answer = await self._stack.favorites.get(FAVORITES, params={"user_id": self._ids})
        assert answer.status_code == 200, answer.text
        items: Items = answer.json()["items"]
        return items

    async def delete(self) -> None:
        assert (await self._stack.client.delete(f"{CUSTOMERS}{self.id}/")).status_code == 200

    async def restore(self) -> None:
        assert (await self._stack.client.post(f"{CUSTOMERS}{self.id}/restore/")).status_code == 200

    async def shows(self, expected: Items, seconds: float = WITHIN_SECONDS) -> float:
        """Seconds until the list is as expected."""
        return await lasted(self.listed, expected, seconds)


async def lasted(look: Callable[[], Awaitable[object]], expected: object, seconds: float) -> float:
    started = time.monotonic()
    while (seen := await look()) != expected:
        assert time.monotonic() - started < seconds, seen
        await asyncio.sleep(0.01)
    return time.monotonic() - started


@pytest.fixture
async def customer(stack: RunningStack) -> Customer:
    ids = [await _created(stack), await _created(stack)]
    customer = Customer(stack, *ids)
    for user_id in ids:
        for item_id in (10, 11):
            answer = await stack.favorites.post(FAVORITES, json={"user_id": user_id, "item_id": item_id})
            assert answer.status_code == 201
            customer.both.append(answer.json())
    return customer


async def _created(stack: RunningStack) -> int:
    phone = {"phone": str(next(_phones))}
    answer = await stack.client.post(CUSTOMERS, json=phone)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def test_favorites_of_a_deleted_customer_are_gone_and_come_back_in_time(customer: Customer) -> None:
    await customer.delete()
    log.info("gone %.2f s later", await customer.shows(customer.others))

    await customer.restore()
    log.info("back %.2f s later", await customer.shows(customer.both))


async def test_nobody_adds_or_deletes_favorites_of_a_deleted_customer(stack: RunningStack, customer: Customer) -> None:
    await customer.delete()
    await customer.shows(customer.others)

    added = await stack.favorites.post(FAVORITES, json={"user_id": customer.id, "item_id": 12})
    ids = [item["id"] for item in customer.both if item not in customer.others]
    deleted = await stack.favorites.request("DELETE", FAVORITES, json={"id": ids})

    assert (added.status_code, deleted.json()["data"]) == (404, {"count_deleted": 0})
    await customer.restore()
    await customer.shows(customer.both)


async def test_what_happened_while_the_follower_was_frozen_shows_once_it_goes_on(
    stack: RunningStack, customer: Customer
) -> None:
    with stack.frozen(FOLLOWER):
        await customer.delete()
        await _all_sent(stack)
        assert await customer.listed() == customer.both
        assert (await stack.favorites.get("/health/ready")).status_code == 200

    log.info("gone %.2f s after it went on", await customer.shows(customer.others))


async def test_what_happened_while_the_follower_was_dead_shows_once_it_is_ready(
    stack: RunningStack, customer: Customer
) -> None:
    stack.kill(FOLLOWER)
    await customer.delete()
    await _all_sent(stack)
    assert await customer.listed() == customer.both  # there was no time to start it again
    log.info("ready %.2f s later", await lasted(lambda: stack.is_ready(FOLLOWER), True, 30))

    log.info("gone %.2f s after it was ready", await customer.shows(customer.others))


async def test_a_follower_without_places_reads_all_from_the_beginning(stack: RunningStack, customer: Customer) -> None:
    await customer.delete()
    await customer.shows(customer.others)

    stack.kill(FOLLOWER)
    async with stack.database() as connection:  # as a backup from before the deletion, or `offsets reset`, leaves it
        await connection.execute("TRUNCATE favorites.deleted_customers, favorites.consumed_offsets")
    assert await customer.listed() == customer.both
    await lasted(lambda: stack.is_ready(FOLLOWER), True, 30)

    await customer.shows(customer.others)


async def test_favorites_are_served_while_kafka_hangs_and_follow_once_it_answers(
    stack: RunningStack, customer: Customer
) -> None:
    with stack.frozen("kafka 1"):
        await customer.delete()
        assert (await stack.favorites.get("/health/ready")).status_code == 200
        assert await customer.listed() == customer.both

    log.info("gone %.2f s after Kafka went on", await customer.shows(customer.others, 20))


async def _all_sent(stack: RunningStack) -> None:
    async def left() -> object:
        async with stack.database() as connection:
            return await connection.fetchval("SELECT count(*) FROM outbox")

    await lasted(left, 0, 10)
