"""How fast the stages of an import are against those of another checkout: both run their own benchmark, in turns."""

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from checkouts import OURS
from figures import Figure
from rich.console import Console
from vapteke_local.machine import cleanup

# An older benchmark measures the REST calls too: as briefly as it can.
_SHORT = {"BENCH_RUNS": "1", "BENCH_CUSTOMERS": "1000", "BENCH_ROUNDS": "2", "BENCH_SECONDS": "0.1"}

Rates = Mapping[str, float]
"""Rows per second by stage."""


def measure(parts: Sequence[str], rows: int, rounds: int, against: Path) -> list[Figure]:
    """Show the ratios, and return them: of the stages that both measure, the medians of the rounds."""
    given = {**_SHORT, "BENCH_PARTS": " ".join(parts), "BENCH_ROWS": str(rows)}
    taken: dict[Path, list[Rates]] = {OURS: [], against: []}
    for number in range(rounds):
        for checkout in (OURS, against) if number % 2 == 0 else (against, OURS):
            taken[checkout].append(_rates(checkout, given))
    ratios = [
        Figure(f"{name}, against {against.name}", _ratio(name, taken[OURS], taken[against]), "times")
        for name in taken[OURS][0]
        if name in taken[against][0]
    ]
    for ratio in ratios:
        Console().print(f"{ratio.name}: {ratio.value:.2f} times as fast", highlight=False)
    return ratios


def _rates(checkout: Path, given: Mapping[str, str]) -> Rates:
    with cleanup.temporary_folder("vapteke-bench-") as folder:
        file = folder / "figures.json"
        own = {"PYTHONPATH": str(checkout / "tests/support"), **given, "BENCH_JSON": str(file)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
        command = [checkout / ".venv/bin/python", checkout / "tests/bench"]
        subprocess.run(command, cwd=checkout, env={**kept, **own}, stdout=subprocess.DEVNULL, check=True)
        figures = json.loads(file.read_text())["figures"]
    return {figure["name"]: figure["value"] for figure in figures if figure["unit"] == "rows/s"}


def _ratio(name: str, ours: Sequence[Rates], theirs: Sequence[Rates]) -> float:
    return statistics.median(one[name] / two[name] for one, two in zip(ours, theirs, strict=True))
