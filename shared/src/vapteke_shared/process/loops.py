"""Runs endless loops, each in its own named task, and reports when one ends, hangs or is cancelled."""

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
    """A loop has failed, or has returned before the shutdown, so the process must end. The text names the loops."""


class _Pulse(NamedTuple):
    """Reports the heartbeats of one loop, whose task is `task`, to the health of the process.

    A heartbeat may come up to `silent_seconds` later than the loop has announced.
    """

    task: asyncio.Task[None]
    health: Health
    silent_seconds: float

    def expect(self, seconds: float) -> None:
        self.health.expect_heartbeat(self.task.get_name(), time.monotonic() + seconds + self.silent_seconds)


_pulse: ContextVar[_Pulse] = ContextVar("pulse")


def beat(seconds: float = 0) -> None:
    """Report that the calling loop is running, and that the next heartbeat will come within `seconds`.

    Liveness turns red when the next heartbeat is later than that by more than the `silent_seconds` of `run`.
    `shutdown.pause` calls `beat`, so a loop calls `beat` itself only if it may run several rounds without a pause. In a
    child task of a loop, and outside of `run`, nothing is reported. Raises CancelledError when the task is being
    cancelled but an `except` has swallowed the CancelledError.
    """
    reraise_cancellation()
    pulse = _pulse.get(None)
    if pulse is not None and pulse.task is asyncio.current_task():  # not a child task, which inherits the context
        pulse.expect(seconds)


async def run(health: Health, stopping: asyncio.Event, silent_seconds: float, loops: Mapping[str, Loop]) -> None:
    """Run the loops until `stopping` is set and all of them have ended.

    When a loop ends early or fails, liveness turns red, `stopping` is set, and LoopEnded is raised once the other loops
    have ended. A loop whose heartbeat is more than `silent_seconds` late turns liveness red until its next heartbeat.
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
    assert task is not None, "this coroutine runs in a task"
    _pulse.set(_Pulse(task, health, silent_seconds))
    beat()
    await loop(stopping)


def _note(done: Iterable[asyncio.Task[None]], health: Health, stopping: asyncio.Event) -> list[str]:
    """Log and report the loops in `done` that ended early or failed, and set `stopping` if there are any.

    Returns one text for each of these loops: its name and what happened. No further heartbeat is expected of any loop
    in `done`.
    """
    faults = []
    for task in done:
        name = task.get_name()
        health.expect_heartbeat(name, None)
        if (fault := _fault(task)) or not stopping.is_set():
            faults.append(f"{name}: {fault or 'it returned'}")
            log.error("a loop has ended by itself; the process ends", loop=name, how=fault or "it returned")
            health.report_stuck(name, f"the loop has ended: {fault or 'it returned'}")
    if faults:
        stopping.set()
    return faults


def _fault(task: asyncio.Task[None]) -> str | None:
    if task.cancelled():
        return "it was cancelled"
    return type(task.exception()).__name__ if task.exception() else None
