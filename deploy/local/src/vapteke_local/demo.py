"""What the frontend would do, and a look at what comes of it: an import, its verdict, the same again, favorites."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn
from rich.table import Table

from vapteke_local import calls, demo_favorites, followers, people, stack
from vapteke_local.calls import call
from vapteke_local.followers import Followed
from vapteke_local.processes import StackFailure
from vapteke_local.stack import Options, Stack

CLASSES = ("read", "created", "updated", "unchanged", "skipped", "rejected", "repaired")
ENDED = ("completed", "failed", "cancelled")
WRITTEN_TABLES = ("phones", "firstnames", "customers", "legacy_customers")
NO_PROGRESS_SECONDS = 900.0
POLL_SECONDS = 0.2
# A Postgres backend that has nothing to do reports its counters after 10 s.
STATISTICS_SETTLE_SECONDS = 10.5

Job = dict[str, Any]


class Stuck(StackFailure):
    """The import has not moved for a long time."""


@dataclass
class Timeline:
    """When each status of an import was first seen, by our own clock, from the call on."""

    asked: float = field(default_factory=time.monotonic)
    first_seen: dict[str, float] = field(default_factory=dict)

    def see(self, status: str) -> None:
        self.first_seen.setdefault(status, time.monotonic())

    @property
    def total(self) -> float:
        return max(self.first_seen.values()) - self.asked

    def stages(self) -> list[tuple[str, float]]:
        """Status and seconds spent in it; a status too short to be seen is part of the one before."""
        times = [("call", self.asked), *self.first_seen.items()]
        return [(name, end - begin) for (name, begin), (_, end) in pairwise(times)]


async def run(options: Options, console: Console) -> int:
    """The exit code: 0 when each verdict is right, the second import wrote nothing, and favorites followed in time."""
    async with stack.serve(options, lambda text: console.print(text, markup=False, highlight=False)) as running:
        async with (
            calls.client(running.customers_api, running.token) as customers,
            calls.client(running.favorites_api, running.token) as favorites,
        ):
            faults = await _both_imports(customers, running, options, console)
            page = await call(customers, "GET", "/rest/v1/customers/", params={"limit": 5})
            console.print(_customers_table(page))
            faults += await demo_favorites.run(customers, favorites, console)
        console.print(_memory_table(running.processes))
    for fault in faults:
        console.print(fault, style="bold red", markup=False, highlight=False, soft_wrap=True)
    if not faults:
        console.print("[bold green]The verdict is exact.")
    return 1 if faults else 0


async def _both_imports(client: httpx.AsyncClient, running: Stack, options: Options, console: Console) -> list[str]:
    console.rule("First import", align="left")
    job, timeline = await _import(client, console)
    console.print(_stage_table(job, timeline))
    faults = compare("First import", job, people.truth(options.seed, options.customers), console)
    if job["status"] != "completed":
        return faults
    told = await _told(running, console)
    if told.living != job["created"]:
        faults.append(f"the events make {told.living} customers, the import has created {job['created']}")
    before = await _settled(running.postgres)
    console.rule("Second import of the same rows", align="left")
    job, timeline = await _import(client, console)
    console.print(_stage_table(job, timeline))
    faults += compare("Second import", job, people.truth_again(options.seed, options.customers), console)
    console.print("waiting until Postgres has counted all that was written …")
    await asyncio.sleep(STATISTICS_SETTLE_SECONDS)
    written = (await _written(running.postgres)) - before
    console.print(f"rows written by the second import to {', '.join(WRITTEN_TABLES)}: {written}", soft_wrap=True)
    again = (await _told(running, console)).events - told.events
    faults += [f"the second import wrote {written} rows"] if written else []
    return faults + ([f"the second import sent {again} events"] if again else [])


async def _told(running: Stack, console: Console) -> Followed:
    """What another team has read once the outbox is empty. Raises Stuck."""
    started = time.monotonic()
    while await _outbox_rows(running.postgres):
        if time.monotonic() - started > NO_PROGRESS_SECONDS:
            raise Stuck("the outbox does not get empty")
        await asyncio.sleep(POLL_SECONDS)
    waited = time.monotonic() - started
    followed = await followers.follow(running.variables["favorites-api"])
    text = (
        f"customer events so far: {followed.events:,}, of {followed.living:,} customers; all sent {waited:.1f} s later"
    )
    console.print(text, highlight=False, soft_wrap=True)
    return followed


async def _outbox_rows(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM customers.outbox"))
    finally:
        await connection.close()


async def _import(client: httpx.AsyncClient, console: Console) -> tuple[Job, Timeline]:
    timeline = Timeline()
    started = (await call(client, "GET", "/grpc/v1/service/import_customers/", 202))["data"]
    path = f"/rest/v1/imports/{started['import_id']}/"
    with _bar(console) as show:
        async for job in _follow(client, path):
            timeline.see(job["status"])
            show(job)
    return job, timeline


async def _follow(client: httpx.AsyncClient, path: str) -> AsyncIterator[Job]:
    """The job again and again until it has ended. Raises Stuck."""
    last, moved_at = None, time.monotonic()
    while True:
        job = await call(client, "GET", path)
        yield job
        if job["status"] in ENDED:
            return
        counts = [job["status"], *(job[name] for name in CLASSES)]
        if counts != last:
            last, moved_at = counts, time.monotonic()
        if time.monotonic() - moved_at > NO_PROGRESS_SECONDS:
            raise Stuck(f"the import has made no progress for {NO_PROGRESS_SECONDS / 60:.0f} minutes: {counts}")
        await asyncio.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Callable[[Job], None]]:
    """Shows a job: a live bar on a terminal, now and then a line elsewhere."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        "{task.percentage:>5.1f} %",
        "{task.fields[rate]}",
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("requested", total=100, rate="")

        def show(job: Job) -> None:
            progress.update(task, description=job["status"], completed=job["percent"] or 0, rate=_rate(job))

        yield show


def _lines(console: Console) -> Callable[[Job], None]:
    shown = ""

    def show(job: Job) -> None:
        nonlocal shown
        step = f"{job['status']} {10 * int((job['percent'] or 0) / 10)} %"
        if step != shown:
            console.print(f"{step}  {_rate(job)}", highlight=False)
            shown = step

    return show


def _rate(job: Job) -> str:
    return f"{job['rows_per_second']:,.0f} rows/s" if job["rows_per_second"] else ""


def compare(title: str, job: Job, truth: Mapping[str, int], console: Console) -> list[str]:
    """Prints the verdict; returns what is wrong with it."""
    faults = [f"{title}: {job['status']}: {job['error']}"] if job["status"] != "completed" else []
    table = Table("", "expected", "got", "", title="The verdict", title_justify="left")
    for name in CLASSES:
        right = job[name] == truth[name]
        table.add_row(name, f"{truth[name]:,}", f"{job[name]:,}", "ok" if right else "[bold red]differs")
        faults += [] if right else [f"{title}: {name} is {job[name]}, expected {truth[name]}"]
    console.print(table)
    return faults


def _stage_table(job: Job, timeline: Timeline) -> Table:
    """Our own clock from the call to the verdict, then the job's."""
    table = Table("stage", "seconds", "rows/s", title="Where the time went", title_justify="left")
    rows = job["read"]
    for name, seconds in timeline.stages():
        table.add_row(name, f"{seconds:.2f}", f"{rows / seconds:,.0f}" if name == "running" else "")
    table.add_row("endpoint to verdict", f"{timeline.total:.2f}", f"{rows / timeline.total:,.0f}")
    if job["started_at"] and job["finished_at"]:
        seconds = (
            datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])
        ).total_seconds()
        table.add_row("the job's own clock, from its start", f"{seconds:.2f}", f"{rows / seconds:,.0f}")
    return table


def _customers_table(page: Mapping[str, Any]) -> Table:
    columns = ("id", "phone", "firstname", "lastname", "email", "birthday")
    table = Table(*columns, title=f"The first of {page['count']:,} customers (made up)", title_justify="left")
    for item in page["items"]:
        phone = item["phone"]
        shown = {**item, "phone": f"+{phone['code']} {phone['number']}" if phone else None}
        table.add_row(*("" if shown[name] is None else str(shown[name]) for name in columns))
    return table


def _memory_table(pids: Mapping[str, int]) -> Table:
    table = Table("process", "peak memory, MiB", title="Memory", title_justify="left")
    for name, pid in sorted(pids.items()):
        table.add_row(name, f"{peak_memory(pid) / 2**20:,.0f}")
    return table


def peak_memory(pid: int) -> int:
    """Bytes resident at most so far; where the system does not tell, now."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return int(psutil.Process(pid).memory_info().rss)
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def _settled(dsn: str) -> int:
    """As `_written`, once the statistics know each row that is there: they come late."""
    deadline = time.monotonic() + STATISTICS_SETTLE_SECONDS
    connection = await asyncpg.connect(dsn)
    try:
        while time.monotonic() < deadline:
            if await connection.fetchval(_ALL_COUNTED):
                break
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()
    return await _written(dsn)


async def _written(dsn: str) -> int:
    """Rows inserted, updated or deleted so far in the tables that an import of equal rows must not touch."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(_WRITTEN, WRITTEN_TABLES))
    finally:
        await connection.close()


_WRITTEN = """
SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables
WHERE schemaname = 'customers' AND relname = ANY($1)
"""

_ALL_COUNTED = """
SELECT sum(n_tup_ins - n_tup_del)
    = (SELECT count(*) FROM customers.phones) + (SELECT count(*) FROM customers.firstnames)
    + (SELECT count(*) FROM customers.customers) + (SELECT count(*) FROM customers.legacy_customers)
FROM pg_stat_user_tables
WHERE schemaname = 'customers' AND relname IN ('phones', 'firstnames', 'customers', 'legacy_customers')
"""
