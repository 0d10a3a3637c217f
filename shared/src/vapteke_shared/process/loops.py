"""Endless loops: each has a task of its own with its name, and none ends, hangs or is cancelled unnoticed."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from vapteke_shared.process import logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.health import Health

Loop = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

log = logs.get(__name__)


class LoopEnded(Exception):
    """Loops have ended by themselves: the process is no longer whole, and ends."""


class _Pulse(NamedTuple):
    """Whose heartbeat it is, and where it is felt."""

    task: asyncio.Task[None]
    health: Health
    silent_seconds: float

    def expect(self, seconds: float) -> None:
        self.health.expect(self.task.get_name(), time.monotonic() + seconds + self.silent_seconds)


_pulse: ContextVar[_Pulse] = ContextVar("pulse")


def beat(seconds: float = 0) -> None:
    """The loop lives, and will say so again `seconds` from now, or a little later.

    `processes.pause` calls it; only a loop with rounds that may follow each other without a pause has to. In a task
    that was cancelled, and has swallowed it, the cancellation is raised again.
    """
    reraise_cancellation()
    pulse = _pulse.get(None)
    if pulse is not None and pulse.task is asyncio.current_task():  # its children have its context, not its pulse
        pulse.expect(seconds)


async def run(health: Health, stopping: asyncio.Event, silent_seconds: float, loops: Mapping[str, Loop]) -> None:
    """Run them until `stopping`. When one ends before, or fails, liveness says so, and the others are told to stop.

    Raises LoopEnded then. A loop that has not beaten for `silent_seconds` turns liveness red until it does again.
    """
    tasks = {
        asyncio.create_task(_beating(loop, health, stopping, silent_seconds), name=name) for name, loop in loops.items()
    }
    faults: list[str] = []
    try:
        running = tasks
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            faults += _note(done, health, stopping)
    finally:
        for task in tasks:
            task.cancel()
    if faults:
        raise LoopEnded("; ".join(faults))


async def _beating(loop: Loop, health: Health, stopping: asyncio.Event, silent_seconds: float) -> None:
    task = asyncio.current_task()
    assert task is not None, "it runs in one"
    _pulse.set(_Pulse(task, health, silent_seconds))
    beat()
    await loop(stopping)


def _note(done: Iterable[asyncio.Task[None]], health: Health, stopping: asyncio.Event) -> list[str]:
    """What is wrong with the end of these."""
    faults = []
    for task in done:
        name = task.get_name()
        health.expect(name, None)
        if (fault := _fault(task)) or not stopping.is_set():
            faults.append(f"{name}: {fault or 'it returned'}")
            log.error("a loop has ended by itself, and the process with it", loop=name, how=fault or "it returned")
            health.stuck(name, f"the loop has ended: {fault or 'it returned'}")
    if faults:
        stopping.set()
    return faults


def _fault(task: asyncio.Task[None]) -> str | None:
    if task.cancelled():
        return "it was cancelled"
    return type(task.exception()).__name__ if task.exception() else None
