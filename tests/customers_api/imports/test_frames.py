"""How far the SQL of the import consumer lies from its entry point: at most four of our own frames."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import asyncpg
import customers_api
import vapteke_shared
from customers_api.imports.consumers import ImportConsumers
from customers_api.settings import WorkSettings
from legacy_events import CLUSTER, Attempt, records
from vapteke_shared.process.health import Health

OURS = tuple(str(Path(package.__file__ or "").parent) for package in (customers_api, vapteke_shared))
STATEMENTS = {"copy_records_to_table", "execute", "executemany", "fetch", "fetchrow", "fetchval"}


class Watched:
    """A connection that notes our frames beneath each statement."""

    def __init__(self, connection: asyncpg.Connection, stacks: list[list[str]]) -> None:
        self._connection, self._stacks = connection, stacks

    def __getattr__(self, name: str) -> Any:
        if name in STATEMENTS:
            self._stacks.append(our_frames())
        return getattr(self._connection, name)


class WatchedPool:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.stacks: list[list[str]] = []

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Watched]:
        async with self._pool.acquire() as connection:
            yield Watched(connection, self.stacks)


def our_frames() -> list[str]:
    """The functions of services and shared that have led here, the entry point last."""
    frames, frame = [], sys._getframe(1)
    walking: FrameType | None = frame
    while walking is not None:
        if walking.f_code.co_filename.startswith(OURS):
            frames.append(walking.f_code.co_qualname)
        walking = walking.f_back
    return frames


async def test_from_the_import_consumer_to_sql_there_are_at_most_four_of_our_frames(
    settings: WorkSettings, pool: asyncpg.Pool, running: UUID
) -> None:
    watched = WatchedPool(pool)
    consumers = ImportConsumers(settings, watched, Health())  # type: ignore[arg-type]
    attempt = Attempt(running)
    changed = attempt.read(1, "79025163111", lastname="Иванов\u200b")

    await consumers.apply_legacy(records([attempt.read(1, "79025163111"), b"rubbish"]), CLUSTER, {})
    await consumers.apply_legacy(records([changed, attempt.read(2, "79025163112")], first_offset=2), CLUSTER, {})

    assert len(watched.stacks) > 20
    assert max(len(frames) for frames in watched.stacks) == 4, max(watched.stacks, key=len)
    assert {frames[-1] for frames in watched.stacks} == {"ImportConsumers.apply_legacy"}
