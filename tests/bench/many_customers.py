"""Whether the system stays as fast with many customers: its calls and imports beside those of a stack with few.

Both stacks are filled by SQL. Their calls take turns, and so do their imports: of new rows, and of the same rows again.
After each pair the new rows are taken back.
"""

import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
import checkouts
import filling
import list_calls
from checkouts import OURS, Import, RunningStack
from figures import Figure
from list_calls import OFFSET
from rich.console import Console
from rich.table import Table
from vapteke_local.machine import cleanup, files
from whole_imports import total

NEW, UNCHANGED = "import of new rows", "import of unchanged rows"
WORK = "customers-api work 1"
RATIO = ": many against few"
PLAIN = f"{OFFSET}: plain query against it"


class Size(NamedTuple):
    few: int
    many: int
    imported: int
    """Rows that are imported on top."""
    rounds: int
    """Of imports."""


@dataclass
class Filled:
    """A stack with so many customers."""

    count: int
    stack: RunningStack
    connection: asyncpg.Connection
    """As superuser."""
    seconds: float
    """What the filling took."""
    imports: dict[str, list[Import]] = field(default_factory=lambda: {NEW: [], UNCHANGED: []})

    async def import_twice(self) -> None:
        if self.imports[NEW]:
            await filling.take_back_imported(self.connection, self.count)
        for taken in self.imports.values():
            taken.append(await self.stack.run_import())

    def rate(self, kind: str) -> float:
        return statistics.median(each.rows / each.seconds for each in self.imports[kind])

    def cpu(self, kind: str) -> float:
        return statistics.median(total(each) for each in self.imports[kind])


async def measure(size: Size) -> list[Figure]:
    """Show the figures, and return them."""
    with cleanup.temporary_folder("vapteke-bench-") as folder:
        async with AsyncExitStack() as exits:
            few, many = [
                await _filled(exits, files.ensure_folder(folder / str(count)), count, size)
                for count in (size.few, size.many)
            ]
            figures = await _calls(few, many)
            for number in range(size.rounds):
                for each in (few, many) if number % 2 == 0 else (many, few):
                    await each.import_twice()
            figures += _imports(few, many)
    _show(figures, size)
    return figures


async def _filled(exits: AsyncExitStack, folder: Path, count: int, size: Size) -> Filled:
    stack = await exits.enter_async_context(checkouts.running(OURS, folder, size.imported))
    connection = await asyncpg.connect(stack.postgres, server_settings={"search_path": "customers"})
    exits.push_async_callback(connection.close)
    seconds = await filling.fill(connection, count)
    Console().print(f"{count:,} customers were filled in after {seconds:.0f} s", highlight=False)
    return Filled(count, stack, connection, seconds)


async def _calls(few: Filled, many: Filled) -> list[Figure]:
    callers = [await list_calls.caller(each.stack, each.connection, each.count) for each in (few, many)]
    figures = []
    for name in callers[0].targets:
        seconds = await list_calls.seconds([partial(caller.call, name) for caller in callers])
        figures += _compared(name, "ms", *(each * 1e3 for each in seconds))
        if (matches := callers[1].matches.get(name)) is not None:
            figures.append(Figure(f"{name}: matches", matches, "customers"))
    ours, plain = partial(callers[1].call, OFFSET), list_calls.plain(many.connection, many.count // 10)
    ours_seconds, plain_seconds = await list_calls.seconds([ours, plain])
    return [*figures, Figure(PLAIN, plain_seconds / ours_seconds, "times")]


def _imports(few: Filled, many: Filled) -> list[Figure]:
    both, figures = (few, many), [Figure("filling", many.seconds, "s")]
    for kind in (NEW, UNCHANGED):
        figures += _compared(f"{kind}, rows/s", "rows/s", *(each.rate(kind) for each in both))
        figures += _compared(f"{kind}, CPU in s", "s", *(each.cpu(kind) for each in both))
    return figures + _compared(f"memory of {WORK}, MiB", "MiB", *(each.stack.memory()[WORK] / 2**20 for each in both))


def _compared(name: str, unit: str, few: float, many: float) -> list[Figure]:
    return [
        Figure(f"{name}: few", few, unit),
        Figure(f"{name}: many", many, unit),
        Figure(f"{name}{RATIO}", many / few, "times"),
    ]


def _show(figures: Sequence[Figure], size: Size) -> None:
    values = {each.name: each.value for each in figures}
    title = f"{size.many:,} customers beside {size.few:,}; {size.imported:,} rows imported on top"
    table = Table("what, in ms if not said", "few", "many", "many : few", "matches", title=title, title_justify="left")
    for name in [name.removesuffix(RATIO) for name in values if name.endswith(RATIO)]:
        pair = [f"{values[f'{name}: {each}']:,.1f}" for each in ("few", "many")]
        matches = values.get(f"{name}: matches")
        found = "" if matches is None else f"{matches:,.0f}"
        table.add_row(name, *pair, f"{values[name + RATIO]:.2f}", found)
    console = Console()
    console.print(table)
    console.print(f"the plain query of the page takes {values[PLAIN]:.1f} times as long", highlight=False)
