"""Temporary folders and child processes that do not outlive us: after a SIGKILL, a watcher process removes them."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = "VAPTEKE_STARTED_BY"
"""In the environment of everything that a process with such a folder starts."""
CLEANED_WITHIN_SECONDS = 30
_ours = uuid.uuid4().hex


@contextlib.contextmanager
def folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder that every user may pass through. It is removed with the block.

    When this process is killed inside the block, the watcher kills what the process had started and removes the folder.
    """
    os.environ[MARK] = _ours
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    with _watched(made):
        try:
            made.chmod(0o711)  # as root, Postgres runs as somebody else and has to pass
            yield made
        finally:
            shutil.rmtree(made)


@contextlib.contextmanager
def _watched(made: Path) -> Iterator[None]:
    """The watcher's standard input ends when we do; what it reads before that says that there is nothing to do."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "vapteke_local.machine.cleanup", made, _ours],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != MARK},
        cwd="/",
        start_new_session=True,
    )
    try:
        yield
    finally:
        watcher.communicate(b"done")


def _watch(made: Path, mark: str) -> None:
    if sys.stdin.buffer.read():
        return
    deadline = time.monotonic() + CLEANED_WITHIN_SECONDS
    while (kill_started(mark) or made.exists()) and time.monotonic() < deadline:
        shutil.rmtree(made, ignore_errors=True)
        time.sleep(0.05)


def kill_started(mark: str = _ours) -> bool:
    """Kill what this process has started since it made its first folder; whether anything was still running."""
    marked = [process for process in psutil.process_iter() if _is_marked(process, mark)]
    for process in marked:
        _kill(process)
    return bool(marked)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # it has ended, or is somebody else's
        return False


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), sys.argv[2])
