"""Child processes are kept running while this process runs, and end with it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from vapteke_local.machine import ports, processes
from vapteke_local.machine.processes import NotStarted, Program

SLEEP = "import time; time.sleep(600)"

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")


def program(folder: Path, code: str, **options: object) -> Program:
    return Program(name="child", command=[sys.executable, "-c", code], log=folder / "child.log", **options)  # type: ignore[arg-type]


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


async def test_a_process_that_dies_is_started_again_after_a_second(tmp_path: Path) -> None:
    pids: list[int] = []
    async with processes.running([program(tmp_path, SLEEP)], lambda process: pids.append(process.pid)) as [process]:
        process.kill()
        died_at = time.monotonic()
        await until(lambda: len(pids) == 2)

        assert time.monotonic() - died_at > 0.9
        assert pids == [pids[0], process.pid]
        assert process.deaths == 1
        assert psutil.pid_exists(process.pid)


async def test_stop_leaves_nothing_not_even_a_grandchild(tmp_path: Path) -> None:
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); time.sleep(600)"
    async with processes.running([program(tmp_path, code)]) as [process]:
        await until(lambda: bool(psutil.Process(process.pid).children()))
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]

    await until(lambda: not any(map(lives, family)), seconds=30)


async def test_stop_kills_a_process_that_ignores_it_after_its_grace_time(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
    deaf = program(tmp_path, code, grace_seconds=0.5)
    async with processes.running([deaf]) as [process]:
        await until(lambda: "deaf" in deaf.log.read_text())
        started = time.monotonic()

    assert not psutil.pid_exists(process.pid)
    assert time.monotonic() - started > 0.4


async def test_a_stop_while_it_waits_to_start_again_starts_nothing(tmp_path: Path) -> None:
    pids: list[int] = []
    async with processes.running([program(tmp_path, "pass")], lambda process: pids.append(process.pid)) as [process]:
        await until(lambda: process.deaths == 1)

    assert len(pids) == 1


async def test_a_process_that_dies_at_the_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with processes.running([program(tmp_path, "raise SystemExit('no such database')")]) as [process]:
        with pytest.raises(NotStarted, match=r"child ended before it was ready.*\nno such database") as failure:
            await processes.until_ready(process, lambda: processes.listening(ports.free_port()))

    assert str(tmp_path / "child.log") in str(failure.value)


async def test_a_process_that_never_gets_ready_is_reported_with_the_reason(tmp_path: Path) -> None:
    async def never() -> str:
        return "the moon is not full"

    async with processes.running([program(tmp_path, SLEEP)]) as [process]:
        with pytest.raises(NotStarted, match="not ready within 0 s: the moon is not full"):
            await processes.until_ready(process, never, timeout=0.2)


async def test_a_failed_command_is_reported_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"child failed \(exit code 3\)"):
        await processes.run(program(tmp_path, "raise SystemExit(3)"))


async def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="child did not end within 0 s"):
        await processes.run(program(tmp_path, SLEEP), timeout=0.3)


@only_linux
@pytest.mark.parametrize("user", [None, "nobody"])
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path, user: str | None) -> None:
    if user and os.geteuid() != 0:
        pytest.skip("only root can start a process as somebody else")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), user or ""], stdout=subprocess.PIPE)
    with parent, parent.stdout as output:  # type: ignore[union-attr]
        child = psutil.Process(int(output.readline()))
        parent.send_signal(signal.SIGKILL)

    child.wait(timeout=60)


PARENT = """
import asyncio, sys
from pathlib import Path
from vapteke_local.machine import processes
from vapteke_local.machine.processes import Program

folder, user = sys.argv[1:]
program = Program(name="child", command=["sleep", "600"], log=Path(folder) / "log", user=user or None)

async def main():
    async with processes.running([program]) as [process]:
        print(process.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
