"""Imports of single rows at full size: how long they take, alone and beside a full import."""

import random
import time
from typing import Any

import pytest
from restartable_legacy import RestartableLegacy
from running_stack import ENDED, RunningStack, verdict
from stack_sizes import FULL, SEED, Size
from stack_state import IMPORTS
from vapteke_local import people

COUNT, RUNS, SECONDS = 100, 20, 2
pytestmark = [
    pytest.mark.prove,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("filled"),
    pytest.mark.parametrize("size", [pytest.param(FULL, id="78,553 rows")], indirect=True),
]


async def rows_of(stack: RunningStack, legacy_ids: list[int]) -> tuple[float, dict[str, Any]]:
    """How many seconds an import of these rows takes from its request to its end, and the job."""
    started = time.monotonic()
    answer = await stack.client.post(IMPORTS, json={"kind": "rows", "legacy_ids": legacy_ids})
    job = await stack.ended(answer.headers["location"])
    return time.monotonic() - started, job


def is_exact(job: dict[str, Any]) -> bool:
    counted = job["status"], job["error"], job["read"], job["unchanged"] + job["rejected"]
    return counted == ("completed", None, COUNT, COUNT)


async def test_of_twenty_imports_of_a_hundred_rows_nineteen_end_within_two_seconds(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    keys, draw = [person.id for person in legacy.rows], random.Random(SEED)

    found = [await rows_of(stack, draw.sample(keys, COUNT)) for _ in range(RUNS)]

    seconds = sorted(each for each, _ in found)
    print(f"seconds: {[round(each, 2) for each in seconds]}")  # noqa: T201 - shown by `pytest -s`
    assert all(is_exact(job) for _, job in found)
    assert seconds[RUNS * 95 // 100 - 1] < SECONDS


async def test_beside_a_full_import_single_rows_end_before_it_and_both_verdicts_are_exact(
    legacy: RestartableLegacy, stack: RunningStack, size: Size
) -> None:
    keys, draw = [person.id for person in legacy.rows], random.Random(SEED)
    started, url, beside = time.monotonic(), await stack.start_import(), list[float]()

    while (await stack.client.get(url)).json()["status"] not in ENDED:
        seconds, job = await rows_of(stack, draw.sample(keys, COUNT))
        beside.append(seconds)
        assert is_exact(job)
    full = await stack.ended(url)

    whole = time.monotonic() - started
    print(f"full: {whole:.1f} s, beside it: {[round(each, 2) for each in beside]}")  # noqa: T201 - shown by `pytest -s`
    assert len(beside) > 1
    assert verdict(full) == people.truth_again(SEED, size.customers)
