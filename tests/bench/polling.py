"""What it costs to look for changes again and again, when nothing has changed.

The schedule of one stack starts an import of changes every few seconds. While the schedule is paused, the same stack
shows what its processes cost anyway.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple

import checkouts
from checkouts import RunningStack
from figures import Figure
from rich.console import Console
from rich.table import Table
from vapteke_local.demo.rest_client import call
from vapteke_local.machine import cleanup

PROCESSES = ("customers-api work 1", "legacy-importer 1")
"""Postgres is left out: it counts orphans for many seconds after each import."""
_EVERY_SECONDS = 2
_MINUTE = 60
_SCHEDULE = "/rest/v1/imports/schedule/"


class Spent(NamedTuple):
    """CPU seconds by process, and how long that took."""

    cpu: Mapping[str, float]
    seconds: float


async def measure(customers: int, polls: int) -> list[Figure]:
    """Show the figures, and return them. `polls` is how many imports find nothing."""
    with cleanup.temporary_folder("vapteke-bench-") as folder:
        often = {"IMPORT_SCHEDULE": f"every {_EVERY_SECONDS}s", "IMPORT_SCHEDULE_KIND": "changes"}
        async with checkouts.running(checkouts.OURS, folder, customers, **often) as stack:
            await call(stack.client, "POST", f"{_SCHEDULE}pause/")
            await stack.run_import()
            idle = await _spent(stack, lambda: asyncio.sleep(polls * _EVERY_SECONDS))
            await call(stack.client, "POST", f"{_SCHEDULE}resume/")
            await _until(stack, 1)  # the first one
            made = await _polls(stack)
            busy = await _spent(stack, lambda: _until(stack, made + polls))
            made = await _polls(stack) - made
    found = list(_figures(idle, busy, made))
    Console().print(_table(found, f"{customers:,} rows, {made} imports of changes that found nothing"))
    return found


async def _spent(stack: RunningStack, work: Callable[[], Awaitable[None]]) -> Spent:
    before, started = stack.cpu(), time.monotonic()
    await work()
    after = stack.cpu()
    return Spent({name: after[name] - before[name] for name in PROCESSES}, time.monotonic() - started)


async def _polls(stack: RunningStack) -> int:
    """How many imports have found nothing so far. Raises SystemExit if one has done anything else."""
    jobs = (await call(stack.client, "GET", "/rest/v1/imports/?kind=changes&status=completed"))["items"]
    if any(job["read"] or job["warnings"] for job in jobs):
        raise SystemExit("an import of changes has found something")
    return sum(1 + job["repeated"] for job in jobs)


async def _until(stack: RunningStack, polls: int) -> None:
    while await _polls(stack) < polls:
        await asyncio.sleep(_EVERY_SECONDS / 2)


def _figures(idle: Spent, busy: Spent, polls: int) -> Iterator[Figure]:
    for name in PROCESSES:
        share = idle.cpu[name] / idle.seconds
        seconds = max(0.0, busy.cpu[name] - share * busy.seconds) / polls
        yield Figure(f"idle: CPU of {name}", 100 * share, "% of a core")
        yield Figure(f"one poll: CPU of {name}", 1000 * seconds, "ms")
        yield Figure(f"one poll a minute: CPU of {name}", 100 * seconds / _MINUTE, "% of a core")


def _table(found: list[Figure], title: str) -> Table:
    table = Table("what", "value", "unit", title=title, title_justify="left")
    for figure in found:
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit)
    return table
