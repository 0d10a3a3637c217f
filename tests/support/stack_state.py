"""What a stack holds and has sent: customers, marks of gone rows, favorites, events, and what its processes cost."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import customers_topic
import psutil
from running_stack import RunningStack
from vapteke_shared.contract.events.customers import CustomerEvent

PROCESSES = ("customers-api work 1", "legacy-importer 1", "customers-api serve")
"""Those that run imports."""

IMPORTS, SCHEDULE = "/rest/v1/imports/", "/rest/v1/imports/schedule/"
Topic = Mapping[Any, int]


async def pause(stack: RunningStack) -> None:
    """Until the schedule starts no import and none is unfinished."""
    await stack.client.post(f"{SCHEDULE}pause/")
    unfinished = [("status", status) for status in ("requested", "planning", "running")]
    async with asyncio.timeout(120):
        while (await stack.client.get(IMPORTS, params=unfinished)).json()["count"]:
            await asyncio.sleep(0.05)


async def resume(stack: RunningStack) -> None:
    assert not (await stack.client.post(f"{SCHEDULE}resume/")).json()["paused"]


async def customers_of(stack: RunningStack, legacy_ids: Iterable[int]) -> dict[int, int]:
    """The customer of each of these legacy rows."""
    async with stack.database() as connection:
        rows = await connection.fetch(
            "SELECT legacy_id, customer_id FROM legacy_customers WHERE legacy_id = ANY($1) ORDER BY 1", list(legacy_ids)
        )
    return {row["legacy_id"]: row["customer_id"] for row in rows}


async def deleted(stack: RunningStack) -> set[int]:
    """The customers who are deleted."""
    async with stack.database() as connection:
        return {row["id"] for row in await connection.fetch("SELECT id FROM customers WHERE deleted_at IS NOT NULL")}


async def marks(stack: RunningStack) -> Counter[str]:
    """How many mirror rows are marked as gone, by what became of their customers."""
    async with stack.database() as connection:
        rows = await connection.fetch("SELECT gone_as FROM legacy_customers WHERE gone_in IS NOT NULL")
    return Counter(row["gone_as"] for row in rows)


async def favorites(stack: RunningStack, customers: Collection[int]) -> dict[int, list[int]]:
    """The items that each of these customers has as favorites; customers without any are left out."""
    found: dict[int, list[int]] = {}
    ids = list(customers)
    for start in range(0, len(ids), 100):
        wanted = [("user_id", customer_id) for customer_id in ids[start : start + 100]]
        answer = await stack.favorites.get("/rest/v1/favorites/", params=[*wanted, ("limit", 1000)])
        for item in answer.json()["items"]:
            found.setdefault(item["user_id"], []).append(item["item_id"])
    return found


async def sent_so_far(stack: RunningStack) -> Topic:
    """For `events_since`."""
    await stack.all_sent()
    return await customers_topic.end(stack["kafka"])


async def events_since(stack: RunningStack, position: Topic) -> list[CustomerEvent]:
    await stack.all_sent()
    return [each.event for each in await customers_topic.read(stack["kafka"], since=position)]


async def at_rest(stack: RunningStack) -> None:
    """Until nothing that the last full import has left to do is going on."""
    await stack.all_sent()
    async with asyncio.timeout(120), stack.database() as connection:
        while not await connection.fetchval(_TEXTS_ARE_READ):
            await asyncio.sleep(0.1)


_TEXTS_ARE_READ = """
SELECT last_id IS NULL AND import_id = (
    SELECT id FROM imports WHERE kind = 'full' AND status = 'completed' ORDER BY requested_at DESC LIMIT 1
) FROM customer_rereads
"""


async def tables(stack: RunningStack) -> dict[str, str]:
    """A digest of the versions of all rows, table by table: any write changes it."""
    async with stack.database() as connection:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'customers' ORDER BY 1")
        digest = "md5(coalesce(string_agg(concat(ctid, xmin), ',' ORDER BY ctid), ''))"
        return {row[0]: await connection.fetchval(f"SELECT {digest} FROM {row[0]}") for row in names}


class Cost(NamedTuple):
    """What a process has used so far."""

    cpu_seconds: float
    memory: int
    """The resident memory now, in bytes."""


def costs(stack: RunningStack) -> dict[str, Cost]:
    """By process, with the processes that it has started."""
    return {name: _cost(psutil.Process(stack["processes"][name])) for name in PROCESSES}


def _cost(process: psutil.Process) -> Cost:
    family = [process, *process.children(recursive=True)]
    return Cost(sum(sum(each.cpu_times()[:2]) for each in family), sum(each.memory_info().rss for each in family))
