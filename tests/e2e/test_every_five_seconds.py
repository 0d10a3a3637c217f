"""An hour under a schedule of every five seconds: changes arrive in time, and neither memory nor tables grow.

`MINUTES=5 .venv/bin/python -m pytest -s -m prove tests/e2e/test_every_five_seconds.py` runs a shorter one.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping

import pytest
from arrivals import ON_A_BUSY_MACHINE, PROMISED_SECONDS, arrived
from restartable_legacy import RestartableLegacy
from running_stack import RunningStack, running_stack
from stack_sizes import FULL, SEED
from stack_state import IMPORTS, PROCESSES, Cost, costs, customers_of

MINUTES = int(os.environ.get("MINUTES", "60"))
WARM_AFTER = MINUTES // 3
"""Minutes until a process has reached its usual memory."""
MOST_GROWTH = 16 << 20
"""Bytes of memory after that; the allocator's own variation is below it."""
pytestmark = [pytest.mark.prove, pytest.mark.timeout(900 + 60 * MINUTES)]


@pytest.fixture(scope="module")
async def legacy() -> AsyncIterator[RestartableLegacy]:
    legacy = RestartableLegacy(SEED, FULL.customers)
    await legacy.start()
    yield legacy
    await legacy.stop()


@pytest.fixture(scope="module")
async def stack(legacy: RestartableLegacy) -> AsyncIterator[RunningStack]:
    schedule = {"IMPORT_SCHEDULE": FULL.schedule, "IMPORT_SCHEDULE_KIND": "changes"}
    async with running_stack(legacy.server, **schedule) as stack:
        yield stack


async def test_an_hour_of_imports_of_changes_leaves_memory_and_tables_as_they_are(
    legacy: RestartableLegacy, stack: RunningStack
) -> None:
    await stack.imported()
    keys = [person.id for person in legacy.with_own_phone[:: len(legacy.with_own_phone) // MINUTES]][:MINUTES]
    customers = await customers_of(stack, keys)
    begun, before = time.monotonic(), costs(stack)
    memory, seconds, jobs = [resident(before)], list[float](), [await job_count(stack)]

    for minute, key in enumerate(keys, start=1):
        seconds.append(await arrived(legacy.server, stack, key, customers[key], "Новая"))
        while time.monotonic() < begun + 60 * minute + minute % 5:  # at all moments between two times of the schedule
            await asyncio.sleep(0.5)
        memory.append(resident(costs(stack)))
        jobs.append(await job_count(stack))
        if minute % 5 == 0 or minute == MINUTES:
            used = {name: f"{size / 2**20:.1f} MiB" for name, size in memory[-1].items()}
            slowest = f"{statistics.median(seconds):.1f} s, slowest {max(seconds):.1f} s"
            print(f"minute {minute}: {used}; jobs {jobs[-1]}; median {slowest}", flush=True)  # noqa: T201
    shares = {name: cost.cpu_seconds - before[name].cpu_seconds for name, cost in costs(stack).items()}
    cpu = {name: f"{100 * used / (time.monotonic() - begun):.1f} %" for name, used in shares.items()}
    in_time = sum(each <= PROMISED_SECONDS for each in seconds)
    print(f"{in_time} of {len(seconds)} changes arrived within {PROMISED_SECONDS} s; CPU, of a core: {cpu}")  # noqa: T201
    ended = await stack.items(IMPORTS)

    assert max(seconds) <= ON_A_BUSY_MACHINE
    assert {job["error"] for job in ended} == {None}
    assert jobs[-1] - jobs[0] <= 2 * MINUTES + 1  # each change has a job, and each time without changes between two
    growth = {name: memory[-1][name] - memory[WARM_AFTER][name] for name in PROCESSES}
    assert max(growth.values()) < MOST_GROWTH, growth


def resident(processes: Mapping[str, Cost]) -> dict[str, int]:
    """Bytes of memory by process."""
    return {name: cost.memory for name, cost in processes.items()}


async def job_count(stack: RunningStack) -> int:
    async with stack.database() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM imports")
    return count
