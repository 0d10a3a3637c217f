"""Compares the counts of an import with those that the generator of people expects."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

COUNTS = ("read", "created", "updated", "unchanged", "skipped", "rejected", "repaired")


def compare(title: str, job: Mapping[str, Any], truth: Mapping[str, int], console: Console) -> list[str]:
    """Prints the expected counts (`truth`) and those of the job side by side.

    Returns one sentence for each difference, and one if the job has not completed.
    """
    faults = [f"{title}: {job['status']}: {job['error']}"] if job["status"] != "completed" else []
    table = Table("", "expected", "got", "", title="The verdict", title_justify="left")
    for name in COUNTS:
        right = job[name] == truth[name]
        table.add_row(name, f"{truth[name]:,}", f"{job[name]:,}", "ok" if right else "[bold red]differs")
        faults += [] if right else [f"{title}: {name} is {job[name]}, expected {truth[name]}"]
    console.print(table)
    return faults
