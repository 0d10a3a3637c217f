"""Shows an import to a person: its progress while it runs, and its verdict as a table."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import asyncpg
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from customers_api.imports.response_models import Import

Show = Callable[[Import], None]

_COUNTS = ("read", "created", "updated", "unchanged", "skipped", "rejected", "repaired", "unread", "gone")


class Output(Console):
    """Raises BrokenPipeError when nobody reads the output any more. Rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def progress(console: Console) -> Iterator[Show]:
    """Yield a function that shows how far an import is; call it with each new state of the import.

    On a terminal it moves a progress bar. Elsewhere it prints a line for each new status, for every ten percent, and
    when the import begins to wait for something.
    """
    if not console.is_terminal:
        yield _lines(console)
        return
    bar = Progress(
        "{task.description}", BarColumn(), "{task.percentage:>5.1f} %", "{task.fields[rate]}", TimeElapsedColumn()
    )
    task = bar.add_task("requested", total=100, rate="")
    with Live(bar, console=console) as live:

        def show(job: Import) -> None:
            bar.update(task, description=job.status, completed=job.percent or 0, rate=_rate(job))
            live.update(Group(bar, *_waits(job)))

        yield show


def _lines(console: Console) -> Show:
    shown: object = None

    def show(job: Import) -> None:
        nonlocal shown
        step = job.status, int((job.percent or 0) / 10), job.waiting_for is None
        if step != shown:
            console.print(_line(job), soft_wrap=True)
            shown = step

    return show


def _line(job: Import) -> str:
    percent = "" if job.percent is None else f"{job.percent:.0f} %"
    return "  ".join(filter(None, (job.status, percent, _rate(job), *_waits(job))))


def _waits(job: Import) -> list[str]:
    return [f"waits for {job.waiting_for}"] if job.waiting_for else []


def _rate(job: Import) -> str:
    return f"{job.rows_per_second:,.0f} rows/s" if job.rows_per_second else ""


def verdict(console: Console, job: Import) -> None:
    """Print the verdict of an ended import: a table of its counts, then its warnings and its error, one per line."""
    console.print(f"{job.status}{_duration(job)}")
    table = Table(show_header=False)
    for name in _COUNTS:
        table.add_row(name, Text(f"{getattr(job, name):,}", justify="right"))
    console.print(table)
    for warning in job.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    if job.error:
        console.print(f"error: {job.error}", soft_wrap=True)


def _duration(job: Import) -> str:
    return f" in {(job.finished_at - job.requested_at).total_seconds():,.1f} s" if job.finished_at else ""


def differences(console: Console, count: int, path: str) -> None:
    """Print how many differences a comparison has found, and where to read them."""
    console.print(f"differences: {count:,}" + (f"; read them: GET {path}" if count else ""), soft_wrap=True)


def rows(console: Console, found: Sequence[asyncpg.Record]) -> None:
    """Print what became of single rows: `found` are rows of `queries.rows`."""
    table = Table("legacy id", "customer", "outcome", "about")
    for row in found:
        legacy_id, customer_id = ("" if row[name] is None else str(row[name]) for name in ("legacy_id", "customer_id"))
        table.add_row(legacy_id, customer_id, row["outcome"] or "", _about(row))
    console.print(table)


def _about(row: asyncpg.Record) -> str:
    """The fields that have changed, those that cannot be used, and who has the phone."""
    reasons = (f"{field}: {reason}" for field, reason in json.loads(row["reasons"] or "{}").items())
    holder = f"customer {row['other_customer_id']}" if row["other_customer_id"] else "nobody"
    held = [f"phone held by {holder}"] if row["is_held"] else []
    return ", ".join((*row["fields"], *reasons, *held))
