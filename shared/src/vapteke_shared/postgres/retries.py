"""Retries transactions that conflict with concurrent ones, by the one convention that every write follows.

A write is one public function of its subject. It takes a connection, is decorated with `retry_conflicts` and opens the
transaction; a single statement is a transaction by itself. A consumer's write opens the transaction with
`stored_offsets.transaction`, which adds the offsets. The functions that a write calls get its connection and work in
its transaction. Endpoints, consumers and loops open no transactions. See docs/design.md, "Transactions".
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import asyncpg

from vapteke_shared.process import logs

log = logs.get(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_TRIES = 5


class ChangedMeanwhile(Exception):
    """Data that was read has changed before it was locked.

    A write raises this so that `retry_conflicts` repeats it from the beginning.
    """


CONFLICTS = (
    ChangedMeanwhile,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
    asyncpg.InvalidCachedStatementError,  # a migration has changed a table that a prepared statement reads
)
"""Errors of concurrent writes: a retry of the same transaction should succeed."""


def retry_conflicts(write: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Decorate a write so that it is retried as a whole after a conflict with another, in at most `_TRIES` attempts.

    The last attempt raises the conflict (one of `CONFLICTS`). Any other error is raised at once. After an outage it is
    unknown whether the commit succeeded, so the caller must decide whether to repeat the write. Do not call the write
    inside a transaction: Postgres accepts no retry in a transaction that a conflict has aborted.
    """

    @wraps(write)
    async def retried(*args: P.args, **options: P.kwargs) -> T:
        for n in range(1, _TRIES):
            try:
                return await write(*args, **options)
            except CONFLICTS as error:
                log.info("write conflict, retrying", write=write.__name__, conflict=type(error).__name__, attempt=n)
                await asyncio.sleep(0.05 * n * random.random())
        return await write(*args, **options)

    return retried
