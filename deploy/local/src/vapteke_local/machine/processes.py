"""Child processes that never outlive us: each in a session of its own, ended with us even when we are killed."""

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
"""Says what is still missing; None: nothing, it is ready."""


class StackFailure(Exception):
    """What keeps the stack from running, in words for the person at the terminal."""


class NotStarted(StackFailure):
    """A process ended, or did not answer in time; the text holds the last lines of its log."""


@dataclass(frozen=True, kw_only=True)
class Program:
    name: str
    command: Sequence[str | Path]
    log: Path
    """Standard output and error are appended here."""
    env: Mapping[str, str] | None = None
    """The whole environment; none: the caller's."""
    user: str | None = None
    """Whom to run as; only root can ask for another."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when our own process dies without a chance to stop it (Linux)."""
    grace_seconds: float = 10.0


@dataclass(eq=False)
class Process:
    """A program kept alive from start to stop: when it dies by itself it is started again after a second."""

    program: Program
    changed: Callable[["Process"], None] = lambda _: None
    """Called after every start of the program: the pid is a new one."""
    deaths: int = 0
    _child: asyncio.subprocess.Process | None = None
    _keeper: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        """The latest child's, which may have died just now."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child.pid

    async def start(self) -> None:
        self.deaths = 0
        self._child = await spawn(self.program)
        self._keeper = asyncio.create_task(self._keep(self._child), name=f"keeper of {self.name}")
        self.changed(self)

    async def stop(self) -> None:
        """Returns when it is gone: asked first, killed after its grace. Safe to repeat."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._child is not None:
            await end(self._child, self.program)

    def kill(self) -> None:
        """The hard way out, as an operator or the kernel would: it will be started again."""
        os.kill(self.pid, signal.SIGKILL)

    async def _keep(self, child: asyncio.subprocess.Process) -> None:
        while True:
            code = await child.wait()
            kill_group(child)
            self.deaths += 1
            log.warning("%s ended (%s), starting it again", self.name, _ending(code))
            await asyncio.sleep(RESTART_AFTER_SECONDS)
            child = self._child = await spawn(self.program)
            self.changed(self)


@contextlib.asynccontextmanager
async def running(
    programs: Iterable[Program], changed: Callable[[Process], None] = lambda _: None
) -> AsyncIterator[list[Process]]:
    """All of them at once, and all stopped at once."""
    processes = [Process(program, changed) for program in programs]
    try:
        for process in processes:
            await process.start()
        yield processes
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


async def run(program: Program, *, timeout: float = 60.0) -> None:
    """Runs to the end. Raises NotStarted when it fails or takes longer than `timeout` seconds."""
    child = await spawn(program)
    try:
        async with asyncio.timeout(timeout):
            code = await child.wait()
    except TimeoutError:
        raise NotStarted(_told(program, f"did not end within {timeout:.0f} s")) from None
    finally:
        await end(child, program)
    if code != 0:
        raise NotStarted(_told(program, f"failed ({_ending(code)})"))


async def until_ready(process: Process, probe: Probe, *, timeout: float = 60.0) -> None:
    """Raises NotStarted when the process dies meanwhile or the time is over."""
    deadline = time.monotonic() + timeout
    while missing := await probe():
        if process.deaths:
            raise NotStarted(_told(process.program, "ended before it was ready"))
        if time.monotonic() > deadline:
            raise NotStarted(_told(process.program, f"was not ready within {timeout:.0f} s: {missing}"))
        await asyncio.sleep(0.05)


async def listening(port: int, host: str = "127.0.0.1") -> str | None:
    """A probe: whether the port accepts connections."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return f"{host}:{port} is closed"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


def end_with_make() -> None:
    """make takes nothing along when it is killed: from now on its death ends us as SIGTERM does (Linux)."""
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
    """The child, if it still lives, and whatever it started and left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _before_exec(program: Program) -> Callable[[], None]:
    """Runs in the child. The order matters: setuid clears the death signal."""
    identity = pwd.getpwnam(program.user) if program.user else None
    parent = os.getpid()

    def prepare() -> None:
        if identity:
            os.setgroups([])
            os.setgid(identity.pw_gid)
            os.setuid(identity.pw_uid)
        if _libc:
            _libc.prctl(_PR_SET_PDEATHSIG, int(program.death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return prepare


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _told(program: Program, what: str) -> str:
    return f"{program.name} {what}. The end of {program.log}:\n{last_lines(program.log)}"


def last_lines(file: Path, count: int = 20) -> str:
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(file.read_text(errors="replace").splitlines()[-count:])
    return "(no log)"
