"""`WakeUp`: one part of a process ends the pause of a polling loop early, because there is work for the loop."""

import asyncio
from contextlib import suppress

from vapteke_shared.process import loops


class WakeUp:
    """Lets other code of the process end the pause of one polling loop early, so that the loop's work is not delayed.

    The loop calls `pause`, the other code calls `call`. Nothing depends on a wake-up, because the loop also polls for
    work from other processes.
    """

    def __init__(self) -> None:
        self._called = False
        self._limit: asyncio.Timeout | None = None

    def call(self) -> None:
        """End the loop's current pause. If the loop is not in a pause, skip the next one.

        Calls are cheap, but only the thread of the event loop may call.
        """
        self._called = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)  # in the past, so now

    async def pause(self, stopping: asyncio.Event, seconds: float) -> None:
        """Sleep like `shutdown.pause`, but at most until `call`. Do not sleep if `call` came since the last pause."""
        loops.beat(seconds)
        if not self._called:
            await self._sleep(stopping, seconds)
        self._called = False

    async def _sleep(self, stopping: asyncio.Event, seconds: float) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds) as self._limit:
                    await stopping.wait()
        finally:
            self._limit = None
