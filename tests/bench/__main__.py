"""Measure the stages of an import, then the REST service beside its rivals: `make bench`.

Each option is also an environment variable: BENCH_ROWS, BENCH_JSON and so on.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import figures
import rest
import stages
import typer
from vapteke_local.machine import processes
from vapteke_shared.process import logs

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command(help=__doc__, context_settings={"auto_envvar_prefix": "BENCH"})
def bench(
    rows: Annotated[int, typer.Option(min=1, help="Rows that go through each stage of an import.")] = 50_000,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each stage; the median counts.")] = 3,
    customers: Annotated[int, typer.Option(min=1_000, help="Customers behind the REST service.")] = 78_553,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of each call; the median counts.")] = 25,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a server is loaded in each round.")] = 0.3,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the figures to this file, too.")] = None,
) -> None:
    logs.configure("ERROR")
    processes.end_with_make()
    measured = asyncio.run(stages.measure(rows, runs))
    measured += asyncio.run(rest.measure(rest.Size(customers, rounds, seconds)))
    if json:
        sizes = {"rows": rows, "runs": runs, "customers": customers, "rounds": rounds, "seconds": seconds}
        figures.write(json, sizes, measured)


if __name__ == "__main__":
    app()
