"""SIGKILL during an import, at seeded random moments: the verdict and every count stay exact."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from running_stack import RunningStack, running_stack, verdict
from vapteke_local import people, vaptekesync

SEED, COUNT = 8, 20_000


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    rows = [tuple(person) for person in people.generate(SEED, COUNT)]
    async with vaptekesync.serve(rows) as legacy, running_stack(legacy, IMPORT_RANGE_ROWS="1000") as stack:
        await stack.imported()  # everything is warm: the moments are spread over the import itself
        yield stack


@pytest.fixture(scope="module")
async def usual_seconds(stack: RunningStack) -> float:
    await stack.forget_customers()
    started = asyncio.get_running_loop().time()
    await stack.imported()
    return asyncio.get_running_loop().time() - started


async def killed_once(stack: RunningStack, process: str, moment: float) -> None:
    while True:  # an import that has ended before its moment proves nothing: an earlier one, then
        await stack.forget_customers()
        url = await stack.start_import()
        await asyncio.sleep(moment)
        if (await stack.client.get(url)).json()["finished_at"] is None:
            break
        moment *= 0.8

    stack.kill(process)

    job = await stack.ended(url, 120)
    assert (job["status"], job["error"]) == ("completed", None)
    assert verdict(job) == people.truth(SEED, COUNT)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("process", ["legacy-importer 1", "customers-api work 1"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_killed_process_leaves_the_verdict_exact(
    stack: RunningStack, usual_seconds: float, process: str, seed: int
) -> None:
    await killed_once(stack, process, random.Random(seed).uniform(0, usual_seconds))


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("process", ["legacy-importer 1", "customers-api work 1"])
@pytest.mark.parametrize("seed", range(3, 23))
async def test_twenty_kills_leave_the_verdict_exact(
    stack: RunningStack, usual_seconds: float, process: str, seed: int
) -> None:
    await killed_once(stack, process, random.Random(seed).uniform(0, usual_seconds))
