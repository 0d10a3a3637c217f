"""Makes sure that no `except Exception` swallows the cancellation of a task."""

import asyncio


def reraise_cancellation() -> None:
    """Raise CancelledError when this task is being cancelled. Call it in every `except Exception` that continues.

    An error raised while a cancellation unwinds replaces the CancelledError. asyncpg's pool raises such errors when a
    connection breaks.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
