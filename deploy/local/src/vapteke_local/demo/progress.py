"""Shows the progress of an import: a live bar on a terminal, elsewhere a line per status and ten percent."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn

Show = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def shown(console: Console) -> Iterator[Show]:
    """Yields a function that shows the progress of an import. Call it with the import's job after every poll."""
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

        def show(job: Mapping[str, Any]) -> None:
            progress.update(task, description=job["status"], completed=job["percent"] or 0, rate=_rate(job))

        yield show


def _lines(console: Console) -> Show:
    shown = ""

    def show(job: Mapping[str, Any]) -> None:
        nonlocal shown
        step = f"{job['status']} {10 * int((job['percent'] or 0) / 10)} %"
        if step != shown:
            console.print(f"{step}  {_rate(job)}", highlight=False)
            shown = step

    return show


def _rate(job: Mapping[str, Any]) -> str:
    return f"{job['rows_per_second']:,.0f} rows/s" if job["rows_per_second"] else ""
