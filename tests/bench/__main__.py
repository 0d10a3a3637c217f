"""Measure the parts of an import beside what else could do them, whole imports, and the REST service beside its rivals.

`make bench` runs it. Each option is also an environment variable: BENCH_ROWS, BENCH_JSON and so on.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import applying
import figures
import many_customers
import polling
import rest
import stage_ratios
import stages
import typer
import whole_imports
from figures import Figure
from vapteke_local.machine import processes
from vapteke_shared.process import lifecycle, logs

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


class Part(StrEnum):
    APPLYING = "applying"
    STAGES = "stages"
    IMPORTS = "imports"
    CALLS = "calls"
    MANY = "many"
    POLLING = "polling"


@app.command(help=__doc__, context_settings={"auto_envvar_prefix": "BENCH"})
def bench(
    parts: Annotated[list[Part], typer.Option(help="What to measure.")] = list(Part),  # noqa: B006
    rows: Annotated[int, typer.Option(min=1, help="Rows that are applied, and that go through each stage.")] = 50_000,
    runs: Annotated[int, typer.Option(min=1, help="Rounds of imports and runs of stages; the median counts.")] = 3,
    customers: Annotated[
        int, typer.Option(min=1_000, help="Rows of a whole import, and of the REST service.")
    ] = 78_553,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of each REST call; the median counts.")] = 25,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a REST server is loaded in each round.")] = 0.3,
    many: Annotated[int, typer.Option(help="So many customers for the part `many`; not above --customers: none.")] = 0,
    polls: Annotated[int, typer.Option(min=1, help="Imports of changes that find nothing.")] = 30,
    imported: Annotated[int, typer.Option(min=1, help="Rows that are imported on top of many customers.")] = 100_000,
    against: Annotated[Path | None, typer.Option(help="Another checkout to compare with, that has a .venv.")] = None,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the figures to this file, too.")] = None,
) -> None:
    logs.configure("ERROR")
    lifecycle.collect_garbage_rarely()
    processes.end_with_make()
    measures: dict[Part, Callable[[], Sequence[Figure]]] = {
        Part.APPLYING: lambda: _run(applying.measure(rows, runs)),
        Part.STAGES: lambda: _run(stages.measure(rows, runs)),
        Part.IMPORTS: lambda: _run(whole_imports.measure(customers, runs, against)),
        Part.CALLS: lambda: _run(rest.measure(rest.Size(customers, rounds, seconds))),
        Part.POLLING: lambda: _run(polling.measure(customers, polls)),
        Part.MANY: lambda: _run(many_customers.measure(many_customers.Size(customers, many, imported, runs))),
    }
    measured = [_measured(part, measures[part]) for part in parts if part != Part.MANY or many > customers]
    if against and (compared := [part for part in parts if part in (Part.APPLYING, Part.STAGES)]):
        measured.append(_measured("against", lambda: stage_ratios.measure(compared, rows, runs, against)))
    if json:
        sizes = {
            "rows": rows,
            "runs": runs,
            "customers": customers,
            "rounds": rounds,
            "seconds": seconds,
            "many": many,
            "polls": polls,
            "imported": imported,
        }
        figures.write(json, sizes, measured)


def _measured(name: str, measure: Callable[[], Sequence[Figure]]) -> figures.Part:
    before = figures.load()
    return figures.Part(name, measure(), before, figures.load())


def _run(measure: Coroutine[Any, Any, Sequence[Figure]]) -> Sequence[Figure]:
    """Measure on the event loop of our processes."""
    with asyncio.Runner(loop_factory=lifecycle.loop_factory()) as runner:
        return runner.run(measure)


if __name__ == "__main__":
    app()
