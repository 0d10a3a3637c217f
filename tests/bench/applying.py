"""How fast rows become customers: ours, new and unchanged, beside COPY and plain SQL (plain_writes.py).

In each round every candidate runs once over the same rows, and each round begins with another one. Rejected rows count
for all, though only ours looks at them. The ratios are medians of those within the rounds.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import legacy_imports
import plain_writes
import rich.table
from figures import Figure
from legacy_importer.translate import LegacyRow
from legacy_imports import LegacyImports, Stage
from plain_writes import CUSTOMERS, EVERYTHING, MIRROR, Table
from process_costs import cpu_seconds
from rich.console import Console
from vapteke_local import people
from vapteke_local.machine import cleanup
from vapteke_local.servers import postgres

NEW, UNCHANGED = "apply, all new", "apply, all unchanged"
COPY, COPY_ALL = "COPY into phones and customers", "COPY into phones, customers, mirror and outbox"
STAGING = "staging table and three INSERT … SELECT"
COMPARED = {NEW: (COPY_ALL, COPY, STAGING), UNCHANGED: (NEW,)}

Prepare = Callable[[], Awaitable[Stage]]
"""What a candidate needs before its clock starts."""


class Run(NamedTuple):
    rate: float
    """Rows per second."""
    cpu: float
    """Seconds per row, of Postgres and of this process together."""


Rounds = Mapping[str, Sequence[Run]]
"""By the candidate's name."""


async def measure(rows: int, rounds: int) -> list[Figure]:
    """Show the figures, and return them."""
    events = legacy_imports.translated(LegacyRow(*person) for person in people.generate(1, rows))
    with cleanup.temporary_folder("vapteke-bench-") as folder:
        async with postgres.serve(folder) as server, legacy_imports.opened(server) as (settings, pool):
            connection = await legacy_imports.superuser(server)
            imports = LegacyImports(settings, pool, events)
            candidates = await _candidates(connection, imports, plain_writes.staged(events))
            taken = await _rounds(candidates, rounds, server.process.pid)
            await connection.close()
    console = Console()
    console.print(_table(taken, f"{rows:,} rows, median of {rounds} rounds"))
    return [figure for name in taken for figure in _figures(name, taken)]


async def _candidates(
    connection: asyncpg.Connection, imports: LegacyImports, staged: Sequence[tuple[Any, ...]]
) -> Mapping[str, Prepare]:
    """Runs the first import: it warms up, and leaves the rows that COPY writes."""
    count = await (await imports.prepare("created"))()
    tables = await plain_writes.tables(connection)
    await plain_writes.create_staging_table(connection)

    async def new() -> Stage:
        await legacy_imports.empty(connection)
        return await imports.prepare("created")

    async def unchanged() -> Stage:
        """In tables as autovacuum leaves them after an import."""
        await legacy_imports.empty(connection)
        await plain_writes.copy(connection, _only(MIRROR, tables))
        await connection.execute("VACUUM ANALYZE")
        return await imports.prepare("unchanged")

    def plain(write: Callable[[asyncpg.Connection, Any], Awaitable[None]], rows: Any) -> Prepare:
        async def prepare() -> Stage:
            await legacy_imports.empty(connection)
            return stage

        async def stage() -> int:
            await write(connection, rows)
            return count

        return prepare

    return {
        NEW: new,
        UNCHANGED: unchanged,
        COPY_ALL: plain(plain_writes.copy, _only(EVERYTHING, tables)),
        COPY: plain(plain_writes.copy, _only(CUSTOMERS, tables)),
        STAGING: plain(plain_writes.normalise, staged),
    }


def _only(names: Sequence[str], tables: Sequence[Table]) -> list[Table]:
    return [table for table in tables if table.name in names]


async def _rounds(candidates: Mapping[str, Prepare], rounds: int, postgres_pid: int) -> Rounds:
    taken: dict[str, list[Run]] = {name: [] for name in candidates}
    order = list(candidates)
    for number in range(rounds):
        first = number % len(order)
        for name in order[first:] + order[:first]:
            taken[name].append(await _run(await candidates[name](), postgres_pid))
    return taken


async def _run(stage: Stage, postgres_pid: int) -> Run:
    started, cpu = time.perf_counter(), _cpu(postgres_pid)
    count = await stage()
    seconds = time.perf_counter() - started
    return Run(count / seconds, (_cpu(postgres_pid) - cpu) / count)


def _cpu(postgres_pid: int) -> float:
    return time.process_time() + cpu_seconds(postgres_pid)


def _figures(name: str, taken: Rounds) -> list[Figure]:
    compared = [
        Figure(f"{name}: against {other}", _ratio(name, other, taken), "times") for other in COMPARED.get(name, ())
    ]
    return [
        Figure(name, statistics.median(run.rate for run in taken[name]), "rows/s"),
        Figure(f"{name}: CPU", statistics.median(run.cpu for run in taken[name]) * 1e6, "µs/row"),
        *compared,
    ]


def _ratio(name: str, other: str, taken: Rounds) -> float:
    return statistics.median(one.rate / two.rate for one, two in zip(taken[name], taken[other], strict=True))


def _table(taken: Rounds, title: str) -> rich.table.Table:
    shown = rich.table.Table("what", "rows/s", "CPU, µs/row", "new is × this", title=title, title_justify="left")
    for name in taken:
        rate, cpu = (figure.value for figure in _figures(name, taken)[:2])
        shown.add_row(name, f"{rate:,.0f}", f"{cpu:,.0f}", f"{_ratio(NEW, name, taken):.2f}")
    return shown
