"""What `vapteke demo` accepts as an exact verdict, and what it reports as wrong."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console
from vapteke_local import people
from vapteke_local.demo import imports, tables, verdict

TRUTH = people.truth(1, 500)
JOB = {"status": "completed", "error": None, **TRUTH}


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


def test_an_exact_verdict_has_no_faults(console: Console) -> None:
    assert verdict.compare("First import", JOB, TRUTH, console) == []


@pytest.mark.parametrize("name", verdict.COUNTS)
def test_each_count_that_differs_is_a_fault(console: Console, name: str) -> None:
    job = {**JOB, name: TRUTH[name] + 1}

    faults = verdict.compare("First import", job, TRUTH, console)

    assert faults == [f"First import: {name} is {TRUTH[name] + 1}, expected {TRUTH[name]}"]


def test_a_failed_import_is_a_fault_even_with_the_right_counts(console: Console) -> None:
    job = {**JOB, "status": "failed", "error": "no such table"}

    assert verdict.compare("First import", job, TRUTH, console) == ["First import: failed: no such table"]


def test_stages_last_from_one_status_to_the_next() -> None:
    timeline = imports.Timeline(called_at=10.0, first_seen={"requested": 10.5, "running": 11.0, "completed": 15.0})

    assert timeline.stages() == [("call", 0.5), ("requested", 0.5), ("running", 4.0)]
    assert timeline.total == 5.0


def test_peak_memory_is_in_bytes() -> None:
    assert 10 * 2**20 < tables.peak_memory(os.getpid()) < 10 * 2**30


def test_the_table_of_memory_says_which_processes_have_ended(console: Console) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with subprocess.Popen([sys.executable, "-c", ""]) as unnoticed:
        os.waitid(os.P_PID, unnoticed.pid, os.WEXITED | os.WNOWAIT)
        table = tables.memory({"gone": gone.pid, "unnoticed": unnoticed.pid})

    assert list(table.columns[1].cells) == ["ended", "ended"]
