"""What processes have cost so far: CPU seconds, and their peak memory."""

import contextlib

import psutil
from vapteke_local.demo.tables import peak_memory

__all__ = ["cpu_seconds", "peak_memory"]


def cpu_seconds(pid: int) -> float:
    """Of the process and its children. Linux adds those that have ended to their parent, once it has noticed."""
    parent = psutil.Process(pid)
    seconds = 0.0
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            seconds += sum(process.cpu_times()[:4])
    return seconds
