"""How long an import takes through the whole stack, and what it costs each process: a first one, and the same again.

Each round starts a new stack. With another checkout, the stacks of both run side by side, and their imports take turns.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import checkouts
from checkouts import OURS, Import, RunningStack
from figures import Figure
from rich.console import Console
from rich.table import Table
from vapteke_local.machine import cleanup, files

FIRST, UNCHANGED = "first import", "unchanged import"
STAND_IN = "vaptekesync"
"""Its costs are shown, and not added: it stands for another machine."""
SERVERS = ("postgres", "kafka 1", STAND_IN)
_UNCHANGED_IMPORTS = 2  # of a stack


class Round(NamedTuple):
    """What the imports of one stack took, by kind, and the memory that its services took at most, in bytes."""

    imports: Mapping[str, Sequence[Import]]
    memory: Mapping[str, int]


Rounds = Mapping[Path, Sequence[Round]]
"""By checkout."""


async def measure(customers: int, rounds: int, against: Path | None) -> list[Figure]:
    """Show the figures, and return them. `against` is another checkout."""
    compared = [OURS] if against is None else [OURS, against]
    taken: dict[Path, list[Round]] = {checkout: [] for checkout in compared}
    for number in range(rounds):
        order = compared if number % 2 == 0 else compared[::-1]
        for checkout, measured in (await _round(order, customers)).items():
            taken[checkout].append(measured)
    console = Console()
    for checkout in compared:
        console.print(_table(taken[checkout], f"{customers:,} rows, {rounds} stacks of {checkout.name}"))
    ours = _figures(taken[OURS])
    if against is None:
        return ours
    ratios = _ratios(taken, against)
    for ratio in ratios:
        console.print(f"{ratio.name}: {ratio.value:.2f} times", highlight=False)
    return [*ours, *ratios]


async def _round(order: Sequence[Path], customers: int) -> dict[Path, Round]:
    taken: dict[Path, list[Import]] = {checkout: [] for checkout in order}
    with cleanup.temporary_folder("vapteke-bench-") as folder:
        async with AsyncExitStack() as exits:
            stacks: dict[Path, RunningStack] = {}
            for number, checkout in enumerate(order):
                place = files.ensure_folder(folder / str(number))
                stacks[checkout] = await exits.enter_async_context(checkouts.running(checkout, place, customers))
            for _ in range(1 + _UNCHANGED_IMPORTS):
                for checkout, stack in stacks.items():
                    taken[checkout].append(await stack.run_import())
            memory = {checkout: stack.memory() for checkout, stack in stacks.items()}
    return {
        checkout: Round({FIRST: [first], UNCHANGED: others}, memory[checkout])
        for checkout, (first, *others) in taken.items()
    }


def total(measured: Import) -> float:
    """CPU seconds of all processes but the stand-in."""
    return sum(seconds for name, seconds in measured.cpu.items() if name != STAND_IN)


def _figures(rounds: Sequence[Round]) -> list[Figure]:
    return [
        *[figure for kind in (FIRST, UNCHANGED) for figure in _of_kind(kind, rounds)],
        *[
            Figure(f"memory of {name}", max(each.memory[name] for each in rounds) / 2**20, "MiB")
            for name in rounds[0].memory
            if name not in SERVERS
        ],
    ]


def _of_kind(kind: str, rounds: Sequence[Round]) -> list[Figure]:
    imports = _all(kind, rounds)
    cpu = {name: _median(imports, lambda each, name=name: each.cpu[name]) for name in imports[0].cpu}
    return [
        Figure(f"{kind}: endpoint to verdict", _median(imports, lambda each: each.seconds), "s"),
        Figure(f"{kind}: rows", _median(imports, lambda each: each.rows / each.seconds), "rows/s"),
        Figure(f"{kind}: CPU", _median(imports, total), "s"),
        *[Figure(f"{kind}: CPU of {name}", seconds, "s") for name, seconds in cpu.items()],
    ]


def _all(kind: str, rounds: Iterable[Round]) -> list[Import]:
    return [each for taken in rounds for each in taken.imports[kind]]


def _median(imports: Iterable[Import], of: Callable[[Import], float]) -> float:
    return statistics.median(of(each) for each in imports)


def _ratios(taken: Rounds, against: Path) -> list[Figure]:
    """Ours as a multiple of the other's: below 1 is faster, and cheaper. Medians of the imports that took turns."""
    return [
        Figure(f"{kind}, against {against.name}: {what}", _ratio(kind, taken, against, of), "times")
        for kind in (FIRST, UNCHANGED)
        for what, of in (("seconds", lambda each: each.seconds), ("CPU", total))
    ]


def _ratio(kind: str, taken: Rounds, against: Path, of: Callable[[Import], float]) -> float:
    pairs = zip(_all(kind, taken[OURS]), _all(kind, taken[against]), strict=True)
    return statistics.median(of(ours) / of(theirs) for ours, theirs in pairs)


def _table(rounds: Sequence[Round], title: str) -> Table:
    """Of one checkout: seconds."""
    table = Table("what", FIRST, UNCHANGED, title=title, title_justify="left")
    columns = [_of_kind(kind, rounds) for kind in (FIRST, UNCHANGED)]
    for first, unchanged in zip(*columns, strict=True):
        table.add_row(
            f"{first.name.removeprefix(f'{FIRST}: ')}, {first.unit}", f"{first.value:,.2f}", f"{unchanged.value:,.2f}"
        )
    return table
