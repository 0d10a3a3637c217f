"""Temporary folders that do not outlive this process, even if SIGKILL ends this process.

Then its child processes are killed too, if they were started after the first temporary folder was made.
"""

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
"""An environment variable of the processes that are started after this process made its first temporary folder."""
CLEANED_WITHIN_SECONDS = 30
_ours = uuid.uuid4().hex


@contextlib.contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder, which is removed at the end of the block. Every user may enter the folder, but not list it.

    If this process is killed inside the block, a watcher process removes the folder. The watcher also kills what this
    process had started, as in `kill_started`. At the normal end of the block no process is killed, so the caller must
    stop its child processes inside the block.
    """
    os.environ[MARK] = _ours
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    with _watched(made):
        try:
            made.chmod(0o711)  # started by root, Postgres runs as another user and must enter
            yield made
        finally:
            _remove(made)


@contextlib.contextmanager
def _watched(made: Path) -> Iterator[None]:
    """Runs a watcher process beside the block, which removes `made` if this process is killed inside the block.

    The watcher reads its standard input to the end. At the end of the block we send some bytes, and the watcher does
    nothing. If the input ends without bytes, this process is dead, and the watcher cleans up.
    """
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


def _remove(folder: Path) -> None:
    """Removes the folder; does nothing if it is gone. Another process may remove parts of it at the same time."""
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _watch(made: Path, mark: str) -> None:
    if sys.stdin.buffer.read():
        return
    deadline = time.monotonic() + CLEANED_WITHIN_SECONDS
    while (kill_started(mark) or made.exists()) and time.monotonic() < deadline:
        shutil.rmtree(made, ignore_errors=True)
        time.sleep(0.05)


def kill_started(mark: str = _ours) -> bool:
    """Sends SIGKILL to every process that has `mark` in its environment. Returns whether there was one.

    Does not wait for their end: to be sure that none is left, call it until it returns False. With the default `mark`,
    these are the processes that this process has started since it made its first temporary folder, and those of their
    descendants that inherited the variable MARK.
    """
    marked = [process for process in psutil.process_iter() if _is_marked(process, mark)]
    for process in marked:
        _kill(process)
    return bool(marked)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # it has ended, or belongs to another user
        return False


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), sys.argv[2])
