"""A whole stack of real processes, started as a person would, over a vAptekeSync that lives in the test."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import containers
import httpx
from containers import SqlServer
from testcontainers.core.container import DockerContainer
from vapteke_local.vaptekesync import Server

VAPTEKE = Path(sys.executable).parent / "vapteke"
# A process that starts takes 2 to 3 s of CPU time: a stack, or several commands at once, much longer on a busy machine.
START_SECONDS = 300
TABLES = ("phones", "firstnames", "customers", "legacy_customers")
ENDED = ("completed", "failed", "cancelled")


class RunningStack:
    """What the ready file describes; it is read anew each time, as processes come and go."""

    def __init__(self, ready: Path, containers: Mapping[str, DockerContainer]) -> None:
        self._ready, self._containers = ready, containers
        headers = {"Authorization": f"Bearer {self['token']}"}
        self.client = httpx.AsyncClient(base_url=self["customers_api"], headers=headers, timeout=10)
        self.favorites = httpx.AsyncClient(base_url=self["favorites_api"], headers=headers, timeout=10)

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._ready.read_text())[name]

    async def start_import(self) -> str:
        answer = await self.client.get("/grpc/v1/service/import_customers/")
        assert answer.status_code == 202
        url: str = answer.json()["data"]["url"]
        return url

    async def ended(self, url: str, seconds: float = 300) -> dict[str, Any]:
        """The job once it has ended."""
        async with asyncio.timeout(seconds):
            while (job := (await self.client.get(url)).json())["status"] not in ENDED:
                await asyncio.sleep(0.05)
        return dict(job)

    async def imported(self, seconds: float = 300) -> dict[str, Any]:
        return await self.ended(await self.start_import(), seconds)

    async def run(self, kind: str, seconds: float = 300) -> dict[str, Any]:
        """The job of an import of this kind once it has ended."""
        answer = await self.client.post("/rest/v1/imports/", json={"kind": kind})
        assert answer.status_code == 202, answer.text
        return await self.ended(answer.headers["location"], seconds)

    async def items(self, url: str, **parameters: str) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = (await self.client.get(url, params={**parameters, "limit": 1000, "offset": len(found)})).json()
            found += page["items"]
            if len(found) >= page["count"]:
                return found

    async def all_sent(self) -> None:
        """Until the outbox is empty."""
        async with asyncio.timeout(120), self.database() as connection:
            while await connection.fetchval("SELECT count(*) FROM outbox"):
                await asyncio.sleep(0.05)

    async def command(self, *words: str) -> tuple[int | None, str]:
        """The exit code and the standard output of a command of a service, with the variables of that service."""
        arguments = ("run", "--ready", self._ready, *words)
        process = await asyncio.create_subprocess_exec(VAPTEKE, *arguments, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    def kill(self, name: str) -> None:
        os.kill(self["processes"][name], signal.SIGKILL)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """The process lives, and does nothing while the block runs."""
        if name in self._containers:
            with self._paused(self._containers[name]):
                yield
            return
        pid = self["processes"][name]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def _paused(self, container: DockerContainer) -> Iterator[None]:
        container.get_wrapped_container().pause()
        try:
            yield
        finally:
            container.get_wrapped_container().unpause()

    async def is_ready(self, name: str) -> bool:
        """What the process says of itself; one that does not answer is not ready."""
        try:
            answer = await self.client.get(self["metrics"][name].replace("/metrics", "/health/ready"))
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    async def forget_customers(self) -> None:
        async with self.database() as connection:
            await connection.execute(f"TRUNCATE {', '.join(TABLES)}")

    async def healthy(self, seconds: float = START_SECONDS) -> None:
        """Until every service says that it is ready."""
        urls = [f"{self[name]}/health/ready" for name in ("customers_api", "favorites_api", "legacy_importer")]
        deadline = time.monotonic() + seconds
        for url in urls:
            while (await self.client.get(url)).status_code != 200:
                assert time.monotonic() < deadline, url
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self["postgres"], server_settings={"search_path": "customers"})
        try:
            yield connection
        finally:
            await connection.close()

    async def versions(self) -> list[tuple[int, str]]:
        """Rows and a digest of their versions, table by table: any write changes them."""
        async with self.database() as connection:
            return [
                tuple(
                    await connection.fetchrow(
                        "SELECT count(*), coalesce(md5(string_agg(concat(ctid, xmin), ',' ORDER BY ctid)), '')"
                        f" FROM {table}"
                    )
                )
                for table in TABLES
            ]


def verdict(job: Mapping[str, Any]) -> dict[str, int]:
    names = ("read", "created", "updated", "unchanged", "skipped", "rejected", "repaired")
    return {name: job[name] for name in names}


@asynccontextmanager
async def running_stack(legacy: Server | SqlServer, *options: str, **variables: str) -> AsyncIterator[RunningStack]:
    """`vapteke up` with these options over `legacy`; the folder and all processes are gone at the end."""
    with containers.pieces() as pieces, tempfile.TemporaryDirectory(prefix="vapteke-tests-") as folder:
        ready, output = Path(folder, "ready.json"), Path(folder, "output")
        with output.open("wb") as sink:
            up = await asyncio.create_subprocess_exec(
                *(VAPTEKE, "up", "--external", "vaptekesync", "--ready", ready, *pieces.options, *options),
                env={**os.environ, **place_of(legacy), **pieces.variables, **variables},
                stdout=sink,
                stderr=sink,
            )
        try:
            await _appeared(ready, up, output)
            stack = RunningStack(ready, pieces.containers)
            yield stack
            await stack.client.aclose()
            await stack.favorites.aclose()
        finally:
            if up.returncode is None:
                up.send_signal(signal.SIGTERM)
            await asyncio.wait_for(up.wait(), 120)


def place_of(legacy: Server | SqlServer) -> dict[str, str]:
    return {
        "VAPTEKESYNC_HOST": legacy.host,
        "VAPTEKESYNC_PORT": str(legacy.port),
        "VAPTEKESYNC_DB": legacy.database,
        "VAPTEKESYNC_USER": legacy.user,
        "VAPTEKESYNC_PASSWORD": legacy.password,
        "VAPTEKESYNC_ENCRYPT": "no",
    }


async def _appeared(ready: Path, up: asyncio.subprocess.Process, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        assert up.returncode is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        await asyncio.sleep(0.1)
