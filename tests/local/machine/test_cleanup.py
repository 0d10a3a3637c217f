"""A run that is ended, by whatever signal, leaves no process and no folder behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from running_stack import START_SECONDS
from vapteke_local.machine import cleanup

ROOT = Path(__file__).parents[3]
MARK = "VAPTEKE_TEST_OF_LEFTOVERS"
PYTEST = [sys.executable, "-m", "pytest", "tests/support/endless_run.py"]
COMMANDS = {
    "pytest": PYTEST,
    "pytest that times out": [*PYTEST, "--timeout=60"],
    "pytest that times out on a thread": [*PYTEST, "--timeout=60", "--timeout-method=thread"],
    "make test": ["make", "test", f"PYTHON={sys.executable}"],
    "make demo": ["make", "demo", f"PYTHON={sys.executable}"],
    "make up": ["make", "up", f"PYTHON={sys.executable}", "CUSTOMERS=500 --ready {folder}/ready.json"],
}
SHORT = [("pytest", "SIGINT"), ("make test", "SIGKILL"), ("make demo", "SIGKILL")]
LONG = [
    *(("pytest", name) for name in ("SIGTERM", "SIGHUP", "SIGKILL")),
    *((command, name) for command in ("make test", "make up", "make demo") for name in ("SIGTERM", "SIGKILL")),
]
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death"),
]


@dataclass
class Run:
    """One command with everything that it starts, and the folder of its temporary files."""

    command: list[str]
    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self) -> subprocess.Popen[bytes]:
        (self.folder / "tmp").mkdir(mode=0o711)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "TMPDIR": str(self.folder / "tmp"),
            "PYTEST_DEBUG_TEMPROOT": str(self.folder),
            "PYTEST_ADDOPTS": PYTEST[-1] if "make" in self.command else "",
            MARK: self.mark,
        }
        command = [part.format(folder=self.folder) for part in self.command]
        with (self.folder / "output").open("wb") as output:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def running(self) -> list[psutil.Process]:
        marked = [process for process in psutil.process_iter() if self._is_ours(process)]
        return list({*marked, *(child for process in marked for child in descendants(process))})

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark
        except (psutil.Error, OSError):
            return False

    @property
    def has_servers(self) -> bool:
        names = {name_of(process) for process in self.running()}
        return {"postgres", "java", *self._of_the_test} <= names and self._is_stack_started()

    @property
    def _of_the_test(self) -> set[str]:
        return set() if {"demo", "up"} & set(self.command) else {"bash"}

    def _is_stack_started(self) -> bool:
        return any("kafka.Kafka" in arguments_of(process) for process in self.running())


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vapteke-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def arguments_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("command", "ending"),
    [*SHORT, *(pytest.param(*each, marks=pytest.mark.prove) for each in LONG if each not in SHORT)],
)
def test_a_run_that_is_ended_leaves_nothing(folder: Path, command: str, ending: str) -> None:
    run = Run(COMMANDS[command], folder)
    started = run.start()
    wait_for_servers(run, started)
    seen = run.running()

    started.send_signal(signal.Signals[ending])
    started.wait(180)

    nothing_is_left(run, seen)


@pytest.mark.prove
@pytest.mark.parametrize("command", ["pytest that times out", "pytest that times out on a thread"])
def test_a_run_that_times_out_leaves_nothing(folder: Path, command: str) -> None:
    run = Run(COMMANDS[command], folder)
    started, seen = run.start(), set[psutil.Process]()
    while started.poll() is None:
        seen.update(run.running())
        time.sleep(0.2)

    assert started.returncode == 1, (folder / "output").read_text()
    nothing_is_left(run, list(seen))


def wait_for_servers(run: Run, started: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not run.has_servers:
        assert started.poll() is None, (run.folder / "output").read_text()
        assert time.monotonic() < deadline, (run.folder / "output").read_text()
        time.sleep(0.05)


def nothing_is_left(run: Run, seen: list[psutil.Process]) -> None:
    assert len(seen) > 3
    deadline = time.monotonic() + 60
    while left := [*filter(lives, [*seen, *run.running()]), *(run.folder / "tmp").iterdir()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_folder_goes_while_others_remove_parts_of_it(folder: Path) -> None:
    leaving, gone = threading.Event(), threading.Event()

    def remove_parts(parts: list[Path]) -> None:
        leaving.wait()
        while not gone.is_set():
            for part in parts:
                shutil.rmtree(part, ignore_errors=True)

    with ExitStack() as at_end, cleanup.temporary_folder("parts-", folder) as made:
        parts = [made / str(number) for number in range(50)]
        for part in parts:
            part.mkdir()
            for number in range(50):
                (part / str(number)).touch()
        for order in (parts, parts[::-1]):
            thread = threading.Thread(target=remove_parts, args=[order])
            thread.start()
            at_end.callback(thread.join)
        at_end.callback(gone.set)
        leaving.set()

    assert not made.exists()
