"""Runs `make bench` in a form of a few seconds. It checks that figures are measured, not how good they are."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {"rows": 500, "runs": 1, "customers": 1_000, "rounds": 2, "seconds": 0.2}
STAGES = (
    "read through ODBC",
    "translate",
    "publish to Kafka",
    "apply, all new",
    "apply, all unchanged",
    "send the customers' events",
)
CALLS = ("GET one", "list of 50 with count", "create")
SERVERS = ("ours", "barest", "bare", "idiom", "again")
OF_EACH_SERVER = {"requests": "requests/s", "half within": "ms", "99 % within": "ms", "CPU": "µs/request"}
COMPARED = ("ours: against barest", "ours: against bare", "ours: against idiom", "again: against ours")
UNITS = {
    **dict.fromkeys(STAGES, "rows/s"),
    **{
        f"{call}, {server}: {name}": unit
        for call in CALLS
        for server in SERVERS
        for name, unit in OF_EACH_SERVER.items()
    },
    **{f"{call}, {compared}": "times" for call in CALLS for compared in COMPARED},
}


@pytest.mark.timeout(900)
def test_make_bench_measures_everything_and_keeps_the_figures_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "BENCH_"))}
    sizes = {f"BENCH_{name.upper()}": str(size) for name, size in SIZES.items()}

    done = subprocess.run(
        ["make", "bench", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={**environment, **sizes, "BENCH_JSON": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert {figure["name"]: figure["unit"] for figure in report["figures"]} == UNITS
    assert [figure for figure in report["figures"] if figure["value"] <= 0] == []
    assert report["sizes"] == SIZES
    assert report["machine"]["python"] == platform.python_version()
    assert report["commit"]
    assert report["measured_at"]
    page = tmp_path / "performance.md"
    shutil.copy(ROOT / "docs/performance.md", page)
    command = [sys.executable, str(ROOT / "tests/bench/performance_page.py"), str(file), "--page", str(page)]
    subprocess.run(command, check=True)
    named = [*STAGES, *CALLS]
    assert [name for name in named if f"\n| {name} | " not in page.read_text()] == []
    assert report["commit"][:12] in page.read_text()
