"""For tasks that catch `Exception` and continue: each such `except` must call `reraise_cancellation()`.

Nothing calls it for them. Without the call, a cancelled task may go on, at least until its next `loops.beat`.
"""

import asyncio


def reraise_cancellation() -> None:
    """Raise CancelledError if the current task is being cancelled; otherwise do nothing.

    Call this function first in every `except Exception` that lets the task continue. The caught error may have replaced
    the CancelledError while the cancellation unwound: asyncpg's pool raises such errors when a connection breaks.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
