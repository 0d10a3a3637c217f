"""`pause` is a sleep that ends when the shutdown begins. `shutdown_deadline` gives a block of code only a limited time
from the beginning of the shutdown.

lifecycle.py describes the order of a shutdown, and loops.py waits for the loops to end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from vapteke_shared.process import loops


class ShutdownDeadlineExceeded(Exception):
    """The process shuts down, and the time for this work is over."""


@asynccontextmanager
async def shutdown_deadline(stopping: asyncio.Event, seconds: float) -> AsyncIterator[None]:
    """Cancel the block when `stopping` has been set for `seconds`; `async with` then raises ShutdownDeadlineExceeded.

    If `stopping` was set before the block, the time counts from the beginning of the block. Without `stopping`, the
    block has no limit.
    """
    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(_limit_at_shutdown(limit, stopping, seconds), name="deadline at shutdown")
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        raise ShutdownDeadlineExceeded from None


async def _limit_at_shutdown(limit: asyncio.Timeout, stopping: asyncio.Event, seconds: float) -> None:
    await stopping.wait()
    limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep for `seconds`, but at most until `stopping` is set, and report the calling loop's heartbeat.

    The loop must check `stopping` itself afterwards. Raises CancelledError like `loops.beat`.
    """
    loops.beat(seconds)
    with suppress(TimeoutError):  # not wait_for, which before Python 3.12 may swallow a cancellation
        async with asyncio.timeout(seconds):
            await stopping.wait()
