"""The figures of a run, and the JSON file that keeps them with the machine they were measured on."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil


class Figure(NamedTuple):
    name: str
    value: float
    unit: str


class Part(NamedTuple):
    """What was measured together, between two looks at the load: the average of the minute before."""

    name: str
    figures: Sequence[Figure]
    load_before: float
    load_after: float


def load() -> float:
    """How many processes wanted to run, on average of the last minute: the figures of a busy machine are lower."""
    return round(os.getloadavg()[0], 1)


def write(file: Path, sizes: Mapping[str, float | None], parts: Sequence[Part]) -> None:
    """`sizes` are the options of the run: figures of different sizes do not compare."""
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": _machine(),
        "sizes": sizes,
        "load": {part.name: {"before": part.load_before, "after": part.load_after} for part in parts},
        "figures": [{"part": part.name, **figure._asdict()} for part in parts for figure in part.figures],
    }
    file.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n")


def _commit() -> str:
    """The hash, with `-dirty` when files have changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown: not a git checkout"
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Python knows the model on macOS only."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
