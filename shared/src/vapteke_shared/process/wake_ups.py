"""`WakeUp`: a part of the process ends the pause of a loop that polls, because there is something for it to do."""

import asyncio
from contextlib import suppress

from vapteke_shared.process import loops


class WakeUp:
    """Saves the loop's delay, and nothing depends on it: the loop also polls for what other processes have done."""

    def __init__(self) -> None:
        self._called = False
        self._limit: asyncio.Timeout | None = None

    def call(self) -> None:
        """End the current pause, or skip the next one. It costs next to nothing, so it may be called often."""
        self._called = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)  # in the past, so now

    async def pause(self, stopping: asyncio.Event, seconds: float) -> None:
        """Like `shutdown.pause`, but a call ends it too."""
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
