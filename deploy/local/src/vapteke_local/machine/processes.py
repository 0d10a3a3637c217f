"""Child processes, each in a session of its own. They end with this process, on Linux even after SIGKILL."""

import asyncio
import contextlib
import ctypes
import logging
import os
import pwd
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

RESTART_AFTER_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child of a fork should do as little as it can.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


Probe = Callable[[], Awaitable[str | None]]
"""An async function that checks whether something is ready. Returns None if so, otherwise what is still missing."""


class StackFailure(Exception):
    """The stack cannot run, or the demo cannot go on. The command prints the text of the exception and ends."""


class NotStarted(StackFailure):
    """A program failed, ended too early or took too long. The text contains the last lines of the program's log."""


@dataclass(frozen=True, kw_only=True)
class Program:
    name: str
    command: Sequence[str | Path]
    log: Path
    """Standard output and error are appended here."""
    env: Mapping[str, str] | None = None
    """The whole environment; None means the caller's."""
    user: str | None = None
    """The user to run as; only root can choose another."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """The kernel sends this when our own process dies without stopping the child (Linux)."""
    grace_seconds: float = 10.0


@dataclass(eq=False)
class Process:
    """A program that is kept running from `start` to `stop`. If it ends in between, it starts again a second later."""

    program: Program
    changed: Callable[["Process"], None] = lambda _: None
    """Called after every start of the program, because its pid has changed."""
    deaths: int = 0
    """How often the program has ended since `start` without a call of `stop`."""
    _child: asyncio.subprocess.Process | None = None
    _keeper: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        """The pid of the latest start of the program, which may have ended. Raises RuntimeError before `start`."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child.pid

    async def start(self) -> None:
        self.deaths = 0
        self._child = await spawn(self.program)
        self._keeper = asyncio.create_task(self._keep(self._child), name=f"keeper of {self.name}")
        self.changed(self)

    async def stop(self) -> None:
        """Sends the program its stop signal, and SIGKILL if it still runs after its grace time.

        Also kills what the program has left running. Returns when the program has ended. Safe to repeat.
        """
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._child is not None:
            await end(self._child, self.program)

    def kill(self) -> None:
        """Sends SIGKILL to the program, as an operator might. A second later, this object starts the program again.

        Raises RuntimeError before `start`, and ProcessLookupError while the program is not running.
        """
        os.kill(self.pid, signal.SIGKILL)

    async def _keep(self, child: asyncio.subprocess.Process) -> None:
        while True:
            code = await child.wait()
            kill_group(child)
            self.deaths += 1
            log.warning("%s ended (%s), starting it again", self.name, _how_it_ended(code))
            await asyncio.sleep(RESTART_AFTER_SECONDS)
            child = self._child = await spawn(self.program)
            self.changed(self)


@contextlib.asynccontextmanager
async def running(
    programs: Iterable[Program], changed: Callable[[Process], None] = lambda _: None
) -> AsyncIterator[list[Process]]:
    """Keeps all programs running while the block runs, and yields their processes in the same order.

    They may not be ready yet: wait with `until_ready`. At the end of the block, all are stopped at the same time.
    `changed` is called after every start of a program, also after each restart, because the pid is then another one.
    """
    processes = [Process(program, changed) for program in programs]
    try:
        for process in processes:
            await process.start()
        yield processes
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


async def run(program: Program, *, timeout: float = 60.0) -> None:
    """Runs a program once and returns when it has ended with exit code 0.

    Raises NotStarted for another exit code, or after `timeout` seconds, when the program is stopped.
    """
    child = await spawn(program)
    try:
        async with asyncio.timeout(timeout):
            code = await child.wait()
    except TimeoutError:
        raise NotStarted(_report(program, f"did not end within {timeout:.0f} s")) from None
    finally:
        await end(child, program)
    if code != 0:
        raise NotStarted(_report(program, f"failed ({_how_it_ended(code)})"))


async def until_ready(process: Process, probe: Probe, *, timeout: float = 60.0) -> None:
    """Calls the probe repeatedly until it returns None.

    Raises NotStarted when the process has ended since its `start`, even if it runs again, or when `timeout` seconds
    have passed. Both are only checked between two calls, so the probe needs a timeout of its own.
    """
    deadline = time.monotonic() + timeout
    while missing := await probe():
        if process.deaths:
            raise NotStarted(_report(process.program, "ended before it was ready"))
        if time.monotonic() > deadline:
            raise NotStarted(_report(process.program, f"was not ready within {timeout:.0f} s: {missing}"))
        await asyncio.sleep(0.05)


async def listening(port: int, host: str = "127.0.0.1") -> str | None:
    """Checks whether the port accepts connections. Returns None if so, otherwise an error text, as a Probe does."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return f"{host}:{port} is closed"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


def end_with_make() -> None:
    """If make started this process, asks the kernel for a SIGTERM when the parent process dies (only on Linux).

    Otherwise this process would run on after make is killed, because make does not stop its children.
    """
    if _libc and "MAKELEVEL" in os.environ:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


async def spawn(program: Program) -> asyncio.subprocess.Process:
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=program.env,
            start_new_session=True,
            preexec_fn=_before_exec(program),
        )


async def end(child: asyncio.subprocess.Process, program: Program) -> None:
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(program.stop_signal)
    try:
        async with asyncio.timeout(program.grace_seconds):
            await child.wait()
    except TimeoutError:
        log.warning("%s did not stop within %.0f s, killing it", program.name, program.grace_seconds)
    kill_group(child)
    await child.wait()


def kill_group(child: asyncio.subprocess.Process) -> None:
    """Sends SIGKILL to the child's process group: the child, and the processes that it has started and left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _before_exec(program: Program) -> Callable[[], None]:
    """The function that the child calls before exec. It sets the death signal last, because setuid clears it."""
    identity = pwd.getpwnam(program.user) if program.user else None
    parent = os.getpid()

    def prepare() -> None:
        if identity:
            os.setgroups([])
            os.setgid(identity.pw_gid)
            os.setuid(identity.pw_uid)
        if _libc:
            _libc.prctl(_PR_SET_PDEATHSIG, int(program.death_signal), 0, 0, 0)
            if os.getppid() != parent:  # our process died before the line above
                os._exit(1)

    return prepare


def _how_it_ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _report(program: Program, what: str) -> str:
    return f"{program.name} {what}. The end of {program.log}:\n{last_lines(program.log)}"


def last_lines(file: Path, count: int = 20) -> str:
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(file.read_text(errors="replace").splitlines()[-count:])
    return "(no log)"
