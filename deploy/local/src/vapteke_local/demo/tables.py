"""The tables that the demo prints."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from vapteke_local.demo.imports import Job, Timeline


def stages(job: Job, timeline: Timeline) -> Table:
    """The seconds of each stage of an import and of the whole import, by the demo's own clock.

    The last row is the whole import by the job's clock. This row is left out if the job has no such times.
    """
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


def customers(page: Mapping[str, Any]) -> Table:
    columns = ("id", "phone", "firstname", "lastname", "email", "birthday")
    table = Table(*columns, title=f"The first of {page['count']:,} customers (made up)", title_justify="left")
    for item in page["items"]:
        phone = item["phone"]
        shown = {**item, "phone": f"+{phone['code']} {phone['number']}" if phone else None}
        table.add_row(*("" if shown[name] is None else str(shown[name]) for name in columns))
    return table


def memory(pids: Mapping[str, int]) -> Table:
    table = Table("process", "peak memory, MiB", title="Memory", title_justify="left")
    for name, pid in sorted(pids.items()):
        table.add_row(name, _peak_memory_text(pid))
    return table


def _peak_memory_text(pid: int) -> str:
    try:
        return f"{peak_memory(pid) / 2**20:,.0f}"
    except psutil.NoSuchProcess:
        return "ended"


def peak_memory(pid: int) -> int:
    """The peak of a process's resident memory so far, in bytes; on a system without /proc, the current value.

    Raises psutil.NoSuchProcess if the process has ended, also if its parent has not noticed yet.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return int(psutil.Process(pid).memory_info().rss)
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise psutil.ZombieProcess(pid)
