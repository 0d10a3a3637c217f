"""Makes sure that no `except Exception` swallows the cancellation of a task."""

import asyncio


def reraise_cancellation() -> None:
    """Raise CancelledError if the current task is being cancelled; otherwise do nothing.

    Call this function in every `except Exception` that lets the task continue. The caught error may have replaced the
    CancelledError while the cancellation unwound: asyncpg's pool raises such errors when a connection breaks.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
