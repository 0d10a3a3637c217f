"""Two importers and two consumers share an import, also when one is killed or the import is cancelled midway."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from running_stack import RunningStack, running_stack, verdict
from vapteke_local import people, vaptekesync

SEED, COUNT, RANGE_ROWS = 9, 20_000, 500
IMPORTERS, CONSUMERS = ("legacy-importer 1", "legacy-importer 2"), ("customers-api work 1", "customers-api work 2")
APPLIED = "SELECT sum(created + updated + unchanged + skipped + rejected)::int FROM import_counts WHERE import_id = $1"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    rows = [tuple(person) for person in people.generate(SEED, COUNT)]
    variables = {"IMPORT_RANGE_ROWS": str(RANGE_ROWS), "IMPORT_RANGES_IN_FLIGHT": "4"}
    async with (
        vaptekesync.serve(rows) as legacy,
        running_stack(legacy, "--importers", "2", "--consumers", "2", **variables) as stack,
    ):
        yield stack


async def sample(stack: RunningStack, process: str, name: str) -> float:
    text = (await stack.client.get(stack["metrics"][process])).text
    [value] = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(value)


async def begun(stack: RunningStack, url: str, rows: int) -> dict[str, Any]:
    """The job once so many rows are counted."""
    async with asyncio.timeout(60):
        while (job := dict((await stack.client.get(url)).json()))["read"] < rows:
            await asyncio.sleep(0.01)
    return job


async def test_all_have_a_share_and_the_verdict_is_exact(stack: RunningStack) -> None:
    job = await stack.imported()

    assert (job["status"], job["error"]) == ("completed", None)
    assert verdict(job) == people.truth(SEED, COUNT)
    read = [await sample(stack, each, "legacy_importer_rows_total") for each in IMPORTERS]
    applied = [await sample(stack, each, "vapteke_batch_rows_sum") for each in CONSUMERS]
    assert sum(read) == sum(applied) == COUNT
    assert min(*read, *applied) > 0


@pytest.mark.parametrize("process", [IMPORTERS[0], CONSUMERS[0]])
async def test_who_is_killed_in_the_middle_costs_at_most_its_range(stack: RunningStack, process: str) -> None:
    await stack.forget_customers()
    url = await stack.start_import()
    await begun(stack, url, COUNT // 4)

    stack.kill(process)

    job = await stack.ended(url)
    async with stack.database() as connection:
        applied = await connection.fetchval(APPLIED, job["id"])
    assert (job["status"], job["error"]) == ("completed", None)
    assert verdict(job) == people.truth(SEED, COUNT)
    assert COUNT <= applied <= COUNT + RANGE_ROWS


async def test_a_cancelled_import_accounts_for_what_was_read_and_the_next_is_whole(stack: RunningStack) -> None:
    await stack.forget_customers()
    url = await stack.start_import()
    await begun(stack, url, 1)

    answers = [await stack.client.post(f"{url}cancel/") for _ in range(2)]

    job = await stack.ended(url)
    classes = [job[name] for name in ("created", "updated", "unchanged", "skipped", "rejected")]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert (job["status"], job["error"]) == ("cancelled", None)
    assert 0 < job["read"] == sum(classes) < COUNT
    assert job["read"] % RANGE_ROWS == 0

    after = await stack.start_import()
    whole = await stack.ended(after)
    late = await stack.client.post(f"{after}cancel/")
    assert (whole["status"], whole["created"] + whole["unchanged"]) == (
        "completed",
        people.truth(SEED, COUNT)["created"],
    )
    assert (late.status_code, late.json()["code"]) == (409, "import_ended")
