"""Rows that are gone from vAptekeSync: exactly their customers are deleted, hidden and restored."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from restartable_legacy import RestartableLegacy
from running_stack import RunningStack, verdict
from stack_sizes import SEED, Size
from stack_state import IMPORTS, customers_of, deleted, events_since, favorites, marks, resume, sent_so_far
from vapteke_local import people
from vapteke_local.vaptekesync import CUSTOMERS as TABLE
from vapteke_shared.contract.events.customers import CustomerDeleted, CustomerRestored

CUSTOMERS, FAVORITES = "/rest/v1/customers/", "/rest/v1/favorites/"
ITEMS = [1, 2]
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("filled")]


async def settled(stack: RunningStack) -> Counter[str]:
    """The marks of gone rows once no approved deletion is left to be made."""
    async with asyncio.timeout(120):
        while (found := await marks(stack))["approved"]:
            await asyncio.sleep(0.1)
    return found


def some_with_the_highest_keys(legacy: RestartableLegacy, count: int) -> list[int]:
    """Half of them have the highest keys of all that have a phone of their own."""
    keys = [person.id for person in legacy.with_own_phone]
    highest = keys[-(count // 2) :]
    assert highest[-1] == legacy.rows[-1].id
    return sorted([*random.Random(count).sample(keys[: -len(highest)], count - len(highest)), *highest])


async def test_customers_of_gone_rows_are_deleted_once_and_come_back_with_their_favorites(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    gone = some_with_the_highest_keys(legacy, size.gone)
    back, deleted_meanwhile = gone[:: size.gone // size.back], gone[1 :: size.gone // 5]
    deleted_before = [person.id for person in legacy.with_own_phone[:100] if person.id not in gone][:5]
    customers = await customers_of(stack, [*gone, *deleted_before])
    for key in gone:
        await stack.favorites.post(f"{FAVORITES}bulk/", json={"user_id": customers[key], "item_ids": ITEMS})
    for key in deleted_before:
        await stack.client.delete(f"{CUSTOMERS}{customers[key]}/")
    begin = await sent_so_far(stack)

    await legacy.restart_without(*gone)
    job = await stack.imported()
    assert await settled(stack) == {"applied": size.gone}
    listed = await stack.items(f"{IMPORTS}{job['id']}/deletions/")
    events = await events_since(stack, begin)
    async with asyncio.timeout(60):
        while await favorites(stack, [customers[key] for key in gone]):
            await asyncio.sleep(0.1)

    assert (job["gone"], job["skipped"], job["warnings"]) == (size.gone, 5, [])
    assert [each["legacy_id"] for each in listed] == gone
    assert sorted(event.id for event in events) == sorted(customers[key] for key in gone)
    assert {(type(event), event.origin) for event in events} == {(CustomerDeleted, "import")}
    assert await deleted(stack) == set(customers.values())

    again = await stack.imported()
    for key in deleted_meanwhile:
        await stack.client.delete(f"{CUSTOMERS}{customers[key]}/")
    unchanged = await events_since(stack, begin)
    begin = await sent_so_far(stack)
    still_gone = set(gone) - {*back, *deleted_meanwhile}
    await legacy.restart_without(*still_gone)
    returned = await stack.imported()
    events = await events_since(stack, begin)
    restored = [customers[key] for key in back]
    async with asyncio.timeout(60):
        while len(found := await favorites(stack, [customers[key] for key in gone])) < size.back:
            await asyncio.sleep(0.1)

    assert (again["gone"], len(unchanged)) == (0, size.gone)
    assert (returned["gone"], returned["created"], returned["updated"], returned["skipped"]) == (0, 0, 0, 10)
    assert sorted((type(event).__name__, event.id) for event in events) == [
        (CustomerRestored.__name__, customer_id) for customer_id in sorted(restored)
    ]
    assert await deleted(stack) == set(customers.values()) - set(restored)
    assert await customers_of(stack, customers) == customers
    assert found == dict.fromkeys(restored, ITEMS)


async def test_what_is_above_the_limit_of_a_day_waits_for_an_approval_of_its_exact_number(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    gone = some_with_the_highest_keys(legacy, math.ceil(size.customers * 0.015))
    customers = await customers_of(stack, gone)
    begin = await sent_so_far(stack)

    await legacy.restart_without(*gone)
    job = await stack.imported()
    approve = f"{IMPORTS}{job['id']}/deletions/approve/"
    still_gone = gone[-size.gone - 1 :]
    await legacy.restart_without(*still_gone)
    returned = await stack.imported()
    refused = await stack.client.post(approve, json={"count": size.gone})

    assert (job["gone"], len(job["warnings"]), returned["gone"]) == (len(gone), 1, 0)
    assert f"{len(gone)} rows are gone from vAptekeSync; their customers were not deleted" in job["warnings"][0]
    assert (refused.status_code, refused.json()["count"]) == (409, size.gone + 1)
    assert await settled(stack) == {"withheld": size.gone + 1}
    assert (await deleted(stack), await events_since(stack, begin)) == (set(), [])

    approved = await stack.client.post(approve, json={"count": size.gone + 1})

    assert (approved.status_code, approved.json()) == (202, {"count": size.gone + 1})
    assert await settled(stack) == {"applied": size.gone + 1}
    assert await deleted(stack) == {customers[key] for key in still_gone}
    assert sorted(event.id for event in await events_since(stack, begin)) == sorted(await deleted(stack))


async def test_imports_that_did_not_see_the_whole_table_delete_nobody(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    gone = some_with_the_highest_keys(legacy, size.gone)
    customers, begin = await customers_of(stack, gone), await sent_so_far(stack)
    jobs: dict[str, dict[str, Any]] = {}

    await legacy.restart(rows=[])
    jobs["empty"] = await stack.imported()
    await legacy.restart(table=replace(TABLE, name="Clients"))
    jobs["renamed"] = await stack.imported()
    await legacy.restart_without(*gone)
    legacy.server.set_fault("fail", statement="range", nth=3, times=1000)
    jobs["failed"] = await stack.imported()
    await legacy.restart_without(*gone)
    url = await half_read(legacy, stack)
    await stack.client.post(f"{url}cancel/")
    jobs["cancelled"] = await stack.ended(url)
    await legacy.restart()
    jobs["killed"] = await killed_halfway(legacy, stack, "legacy-importer 1")

    ends = {name: (job["status"], job["gone"]) for name, job in jobs.items()}
    assert ends == {
        "empty": ("completed", 0),
        "renamed": ("failed", 0),
        "failed": ("failed", 0),
        "cancelled": ("cancelled", 0),
        "killed": ("completed", 0),
    }
    assert all(0 < jobs[name]["read"] < size.customers for name in ("failed", "cancelled"))
    assert verdict(jobs["killed"]) == people.truth_again(SEED, size.customers)
    assert (await settled(stack), await deleted(stack), await events_since(stack, begin)) == (Counter(), set(), [])

    await legacy.restart_without(*gone)
    last = await killed_halfway(legacy, stack, "customers-api work 1")

    assert (last["status"], last["gone"]) == ("completed", size.gone)
    assert await settled(stack) == {"applied": size.gone}
    assert await deleted(stack) == set(customers.values())


async def half_read(legacy: RestartableLegacy, stack: RunningStack) -> str:
    """The URL of an import that has read some of the ranges. vAptekeSync answers slowly."""
    legacy.server.set_fault("delay", statement="range", seconds=0.5)
    url = await stack.start_import()
    async with asyncio.timeout(60):
        while not (await stack.client.get(url)).json()["read"]:
            await asyncio.sleep(0.01)
    return url


async def killed_halfway(legacy: RestartableLegacy, stack: RunningStack, process: str) -> dict[str, Any]:
    """The job of an import in whose middle this process is killed."""
    url = await half_read(legacy, stack)
    stack.kill(process)
    assert (await stack.client.get(url)).json()["finished_at"] is None
    legacy.server.clear_faults()
    return await stack.ended(url)


async def test_a_table_that_is_purged_bit_by_bit_costs_no_more_customers_than_the_limit_of_a_day(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    keys = some_with_the_highest_keys(legacy, 4 * size.gone)
    parts = [keys[start::4] for start in range(4)]
    customers = await customers_of(stack, keys)
    begin = await sent_so_far(stack)
    started_before = {job["id"] for job in await stack.items(IMPORTS)}

    await resume(stack)
    for number, part in enumerate(parts, start=1):
        for key in part:
            legacy.server.remove(key)
        async with asyncio.timeout(120):
            while (await marks(stack)).total() < size.gone * number:
                await asyncio.sleep(0.1)
    await another_import_of_the_schedule(stack)
    found = await settled(stack)
    jobs = [job for job in await stack.items(IMPORTS) if job["gone"] and job["id"] not in started_before]

    assert found == {"applied": size.gone, "withheld": 3 * size.gone}
    assert await deleted(stack) == {customers[key] for key in parts[0]}
    assert sorted(event.id for event in await events_since(stack, begin)) == sorted(await deleted(stack))
    ends = [(job["kind"], job["requested_by"], job["gone"], withheld(job)) for job in reversed(jobs)]
    assert ends == [("changes", "schedule", size.gone, 0), *[("changes", "schedule", size.gone, 1)] * 3]


def withheld(job: Mapping[str, Any]) -> int:
    """How many warnings say that the import's own deletions are withheld."""
    return sum("their customers were not deleted" in warning for warning in job["warnings"])


async def another_import_of_the_schedule(stack: RunningStack) -> None:
    """Until an import that has begun since now has completed."""
    schedule = f"{IMPORTS}schedule/"
    before = (await stack.client.get(schedule)).json()["next_at"]
    async with asyncio.timeout(120):
        while ((await stack.client.get(schedule)).json()["last_completed_at"] or "") <= before:
            await asyncio.sleep(0.1)
