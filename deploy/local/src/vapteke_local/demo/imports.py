"""Runs one import through the REST API: starts it, polls its job, notes when each status was first seen."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
from rich.console import Console

from vapteke_local.demo import progress
from vapteke_local.demo.rest_client import call
from vapteke_local.demo.verdict import COUNTS
from vapteke_local.machine.processes import StackFailure

ENDED = ("completed", "failed", "cancelled")
NO_PROGRESS_SECONDS = 900.0
POLL_SECONDS = 0.2

Job = dict[str, Any]


class NoProgress(StackFailure):
    """The import has not advanced for NO_PROGRESS_SECONDS, or the outbox has not become empty within this time."""


@dataclass
class Timeline:
    """When each status of an import was first seen, by the demo's own clock."""

    called_at: float = field(default_factory=time.monotonic)
    first_seen: dict[str, float] = field(default_factory=dict)

    def see(self, status: str) -> None:
        self.first_seen.setdefault(status, time.monotonic())

    @property
    def total(self) -> float:
        return max(self.first_seen.values()) - self.called_at

    def stages(self) -> list[tuple[str, float]]:
        """(stage, seconds) in order. The first stage is `call`, the time until the first status was seen.

        The other stages are the statuses, without the last one, which ends the import. The time of a status that no
        poll saw is part of the stage before it.
        """
        times = [("call", self.called_at), *self.first_seen.items()]
        return [(name, end - begin) for (name, begin), (_, end) in pairwise(times)]


async def run_import(client: httpx.AsyncClient, console: Console) -> tuple[Job, Timeline]:
    timeline = Timeline()
    started = (await call(client, "GET", "/grpc/v1/service/import_customers/", 202))["data"]
    path = f"/rest/v1/imports/{started['import_id']}/"
    with progress.shown(console) as show:
        async for job in _follow(client, path):
            timeline.see(job["status"])
            show(job)
    return job, timeline


async def _follow(client: httpx.AsyncClient, path: str) -> AsyncIterator[Job]:
    """Polls the job of an import and yields every answer. In the last one, the job has ended. Raises NoProgress."""
    last, moved_at = None, time.monotonic()
    while True:
        job = await call(client, "GET", path)
        yield job
        if job["status"] in ENDED:
            return
        counts = [job["status"], *(job[name] for name in COUNTS)]
        if counts != last:
            last, moved_at = counts, time.monotonic()
        if time.monotonic() - moved_at > NO_PROGRESS_SECONDS:
            raise NoProgress(f"the import has made no progress for {NO_PROGRESS_SECONDS / 60:.0f} minutes: {counts}")
        await asyncio.sleep(POLL_SECONDS)
