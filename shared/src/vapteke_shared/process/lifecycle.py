"""Runs a process until SIGTERM or SIGINT: sets up logging, runs its loops, and ends in time.

After the signal nothing new is begun, and current work may finish. 12 s after the signal, all connections to Postgres
are closed. 15 s after it, every loop of `work` that has not ended is cancelled. An effect that was cut off is undone,
because every effect is a transaction. 22 s after it, the process exits with status 1 if anything still hangs.
"""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from vapteke_shared.process import health, http_server, logs, loops
from vapteke_shared.process.loops import Loop, LoopEnded
from vapteke_shared.process.settings import MetricsSettings, Settings, load
from vapteke_shared.process.shutdown import ShutdownDeadlineExceeded, shutdown_deadline

S = TypeVar("S", bound=Settings)

_LOOP_SECONDS = 15
_LAST_SECONDS = 22
_GARBAGE_OBJECTS = 50_000  # Python's default is 700

log = logs.get(__name__)


def run(kind: type[S], main: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Load the settings of the class `kind`, set up logging, and run `main(settings, stopping)` until it returns.

    SIGTERM and SIGINT only set `stopping`: `main` must return soon after, or else the process exits with status 1 after
    22 s. Raises SystemExit when a setting is missing or invalid, or when `main` raises LoopEnded. Other errors of
    `main` pass through.
    """
    settings = load(kind)
    logs.configure(settings.log_level)
    collect_garbage_rarely()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            runner.run(_until_signalled(lambda stopping: main(settings, stopping)))
        except LoopEnded as error:
            raise SystemExit(f"a loop has ended by itself: {error}") from None


def collect_garbage_rarely() -> None:
    """Let the garbage collector search less often, and never among the objects that exist now, such as modules.

    A batch of events is tens of thousands of objects without reference cycles. With Python's defaults, searching such
    batches and the loaded modules again and again took a third of the CPU time of an import in `work`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS, 20, 20)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # uvloop does not exist for every platform; the standard loop works too
        return None
    return uvloop.new_event_loop


async def _until_signalled(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ending = asyncio.create_task(_end_in_time(loop, stopping), name="end in time")
    try:
        await main(stopping)
    finally:
        ending.cancel()


async def _end_in_time(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    await stopping.wait()
    _exit_when_overdue(loop)


def _exit_when_overdue(loop: asyncio.AbstractEventLoop) -> None:
    """Start two timers that end the process with status 1: after 22 s with a log line, after 23 s without one.

    The timers are threads, because the event loop or a thread that the interpreter waits for may hang. The second timer
    is for a log that hangs.
    """

    def log_and_exit() -> None:
        try:
            hanging = sorted({getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks(loop)})
            log.error(f"did not shut down in time: {', '.join(hanging) or 'threads'}")
        finally:
            os._exit(1)

    for seconds, end in ((_LAST_SECONDS, log_and_exit), (_LAST_SECONDS + 1, lambda: os._exit(1))):
        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()


async def work(
    settings: MetricsSettings,
    state: health.Health,
    stopping: asyncio.Event,
    named: Mapping[str, Loop],
) -> None:
    """Run the endless loops `named`, and serve the health and the metrics, until `stopping` is set.

    After `stopping`, a loop that takes longer than 15 s to end is cancelled; this is only logged. When a loop ends by
    itself, `work` sets `stopping`, waits for the other loops and raises LoopEnded. Raises SystemExit when the metrics
    port cannot be used.
    """
    async with http_server.served(health.create_app(state), settings.metrics_host, settings.metrics_port) as metrics:
        in_time = {name: partial(_in_time, name, loop) for name, loop in named.items()}
        watched = {"metrics": partial(http_server.until_done, metrics), **in_time}
        await loops.run(state, stopping, settings.liveness_seconds, watched)
    log.info("stopped")


async def _in_time(name: str, loop: Loop, stopping: asyncio.Event) -> None:
    try:
        async with shutdown_deadline(stopping, _LOOP_SECONDS):
            await loop(stopping)
    except ShutdownDeadlineExceeded:
        log.warning("loop cancelled: it did not end in time", loop=name)
