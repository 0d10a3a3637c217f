"""Cancellation that nobody swallows."""

import asyncio


def reraise_cancellation() -> None:
    """For an `except Exception` that goes on: what it caught may have taken a CancelledError's place.

    An error raised while a cancellation unwinds replaces it; asyncpg's pool raises such ones when a connection breaks.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
