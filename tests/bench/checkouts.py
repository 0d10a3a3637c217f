"""Checkouts of this repository, each with an environment of its own: the stack of one runs beside that of another."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from process_costs import cpu_seconds, peak_memory
from vapteke_local.demo import database, rest_client
from vapteke_local.demo.imports import ENDED
from vapteke_local.demo.rest_client import call
from vapteke_local.machine import processes
from vapteke_local.machine.processes import Program

OURS = Path(__file__).parents[2]
START_SECONDS, QUIET_SECONDS = 900, 300
_POLL_SECONDS = 0.1
_IDLE = 0.15  # of a core: what a whole stack takes that has nothing to do, and some more


class Import(NamedTuple):
    """One import through the whole stack."""

    rows: int
    seconds: float
    """From the endpoint to the verdict."""
    cpu: Mapping[str, float]
    """Seconds by process, until all events were sent and followed."""


class RunningStack:
    """What `vapteke up` of the checkout has started."""

    def __init__(self, description: Mapping[str, object], client: httpx.AsyncClient) -> None:
        self.client, self.postgres, self.token = client, description["postgres"], description["token"]
        self.customers_api, self.processes = description["customers_api"], description["processes"]

    async def run_import(self) -> Import:
        """Raises SystemExit unless it completes."""
        before, started = self.cpu(), time.monotonic()
        path = (await call(self.client, "GET", "/grpc/v1/service/import_customers/", 202))["data"]["url"]
        while (job := await call(self.client, "GET", path))["status"] not in ENDED:
            await asyncio.sleep(_POLL_SECONDS)
        seconds = time.monotonic() - started
        if job["status"] != "completed":
            raise SystemExit(f"the import is {job['status']}: {job['error']}")
        await self._until_quiet()
        return Import(job["read"], seconds, {name: spent - before[name] for name, spent in self.cpu().items()})

    async def _until_quiet(self) -> None:
        """Until the outbox is empty and nobody follows its events any more."""
        deadline = time.monotonic() + QUIET_SECONDS
        while await database.outbox_rows(self.postgres) or await self._busy() > _IDLE:
            if time.monotonic() > deadline:
                raise SystemExit(f"the stack is still busy {QUIET_SECONDS} s after the verdict")

    async def _busy(self) -> float:
        """How much of a core all processes take together."""
        before, started = sum(self.cpu().values()), time.monotonic()
        await asyncio.sleep(1)
        return (sum(self.cpu().values()) - before) / (time.monotonic() - started)

    def cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.processes.items()}

    def memory(self) -> dict[str, int]:
        """The peak of each process so far, in bytes."""
        return {name: peak_memory(pid) for name, pid in self.processes.items()}


@asynccontextmanager
async def running(checkout: Path, folder: Path, customers: int, **variables: str) -> AsyncIterator[RunningStack]:
    """The stack of a checkout, with so many rows in its vAptekeSync, and these variables of its services."""
    ready = folder / "stack.json"
    options = ("--customers", str(customers), "--data", folder / "data", "--ready", ready)
    program = Program(
        name=f"the stack of {checkout}",
        command=[checkout / ".venv/bin/vapteke", "up", *options],
        log=folder / "up.log",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables,
        stop_signal=signal.SIGINT,
        grace_seconds=90,
    )

    async def described() -> str | None:
        return None if ready.exists() else f"{ready} is missing"

    async with processes.running([program]) as [process]:
        await processes.until_ready(process, described, timeout=START_SECONDS)
        description = json.loads(ready.read_text())
        async with rest_client.client(description["customers_api"], description["token"]) as client:
            yield RunningStack(description, client)
