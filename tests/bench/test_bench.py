"""Runs `make bench` in a form of a few seconds. It checks that figures are measured, not how good they are."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {"rows": 500, "runs": 1, "customers": 1_000, "rounds": 2, "seconds": 0.2, "imported": 500, "polls": 2}
APPLIED = (
    "apply, all new",
    "apply, all unchanged",
    "COPY into phones, customers, mirror and outbox",
    "COPY into phones and customers",
    "staging table and three INSERT … SELECT",
)
STAGES = ("read through ODBC", "translate", "publish to Kafka", "send the customers' events")
IMPORTS = ("first import", "unchanged import")
SERVICES = (
    "customers-api serve",
    "customers-api work 1",
    "favorites-api serve",
    "favorites-api work 1",
    "legacy-importer 1",
)
PROCESSES = (*SERVICES, "postgres", "kafka 1", "vaptekesync")
CALLS = ("GET one", "list of 50 with count", "create")
SERVERS = ("ours", "barest", "bare", "idiom", "again")
OF_EACH_SERVER = {"requests": "requests/s", "half within": "ms", "99 % within": "ms", "CPU": "µs/request"}
COMPARED = ("ours: against barest", "ours: against bare", "ours: against idiom", "again: against ours")
POLLING = ("customers-api work 1", "legacy-importer 1")
OF_A_POLL = {"idle": "% of a core", "one poll": "ms", "one poll a minute": "% of a core"}
UNITS = {
    **dict.fromkeys((*APPLIED, *STAGES), "rows/s"),
    **{f"{name}: CPU": "µs/row" for name in APPLIED},
    **{f"apply, all new: against {other}": "times" for other in APPLIED[2:]},
    "apply, all unchanged: against apply, all new": "times",
    **{f"{kind}: endpoint to verdict": "s" for kind in IMPORTS},
    **{f"{kind}: rows": "rows/s" for kind in IMPORTS},
    **{f"{kind}: CPU": "s" for kind in IMPORTS},
    **{f"{kind}: CPU of {process}": "s" for kind in IMPORTS for process in PROCESSES},
    **{f"memory of {service}": "MiB" for service in SERVICES},
    **{f"{what}: CPU of {process}": unit for process in POLLING for what, unit in OF_A_POLL.items()},
    **{
        f"{call}, {server}: {name}": unit
        for call in CALLS
        for server in SERVERS
        for name, unit in OF_EACH_SERVER.items()
    },
    **{f"{call}, {compared}": "times" for call in CALLS for compared in COMPARED},
}
WITH_MANY = (
    "GET one",
    "first page",
    "page at an offset of a tenth",
    "last page by its cursor",
    *(f"filter {name}" for name in ("phone", "email", "firstname", "lastname", "city_id", "gender", "updated_since")),
    "import of new rows, rows/s",
    "import of unchanged rows, rows/s",
    "memory of customers-api work 1, MiB",
)
MAY_BE_NOTHING = "CPU of "
"""In so short an import, for a process that has little to do."""


@pytest.mark.timeout(900)
def test_make_bench_measures_everything_and_keeps_the_figures_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    done = bench({**SIZES, "json": file})

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert {figure["name"]: figure["unit"] for figure in report["figures"]} == UNITS
    assert [
        figure for figure in report["figures"] if figure["value"] <= 0 and MAY_BE_NOTHING not in figure["name"]
    ] == []
    assert report["sizes"] == {**SIZES, "many": 1_000}
    assert report["machine"]["python"] == platform.python_version()
    assert report["commit"]
    assert report["measured_at"]
    page = page_with(file, tmp_path)
    named = [*APPLIED, *STAGES, *(f"CPU of {process}, s" for process in PROCESSES), *CALLS]
    assert [name for name in named if f"\n| {name} | " not in page] == []
    assert page.count(report["commit"][:12]) == len({figure["part"] for figure in report["figures"]})


@pytest.mark.timeout(900)
def test_make_bench_compares_with_another_checkout(tmp_path: Path) -> None:
    """With itself, which stands for an earlier commit."""
    file = tmp_path / "figures.json"
    other = tmp_path / "before"
    other.symlink_to(ROOT)

    done = bench({**SIZES, "parts": "applying imports", "against": other, "json": file})

    assert done.returncode == 0, done.stdout + done.stderr
    figures = {figure["name"]: figure["value"] for figure in json.loads(file.read_text())["figures"]}
    ratios = {name: value for name, value in figures.items() if ", against before" in name}
    stages = {f"{stage}, against before" for stage in APPLIED}
    imports = {f"{kind}, against before: {what}" for kind in IMPORTS for what in ("seconds", "CPU")}
    assert ratios.keys() == stages | imports
    assert [name for name, value in ratios.items() if value <= 0] == []


@pytest.mark.timeout(900)
def test_make_bench_measures_how_a_stack_with_many_customers_compares(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    done = bench({**SIZES, "parts": "many", "json": file}, customers=2_000)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert [name for name in WITH_MANY if figures[f"{name}: many against few"] <= 0] == []
    assert figures["first page: matches"] == 2_000
    assert figures["page at an offset of a tenth: plain query against it"] > 0
    assert [name for name in WITH_MANY if f"\n| {name} | " not in page_with(file, tmp_path)] == []


def page_with(file: Path, folder: Path) -> str:
    """docs/performance.md with the figures of this file."""
    page = folder / "performance.md"
    shutil.copy(ROOT / "docs/performance.md", page)
    command = [sys.executable, str(ROOT / "tests/bench/performance_page.py"), str(file), "--page", str(page)]
    subprocess.run(command, check=True)
    return page.read_text()


def bench(options: Mapping[str, object], customers: int = 1_000) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "BENCH_"))}
    return subprocess.run(
        ["make", "bench", f"CUSTOMERS={customers}", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={**kept, **{f"BENCH_{name.upper()}": str(value) for name, value in options.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
