"""nginx with the configuration of deploy/gateway, over services of the test."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from vapteke_local.machine import ports

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "gateway" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: the package nginx-light has it")


class Gateway:
    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port, self._process = port, process

    def workers(self) -> dict[int, int]:
        """By process id: bytes in memory."""
        return {worker.pid: worker.memory_info().rss for worker in self._process.children()}


@asynccontextmanager
async def gateway(folder: Path, customers: int, favorites: int, page: str = "") -> AsyncIterator[Gateway]:
    """`customers` and `favorites` are ports of 127.0.0.1; `page` is an origin whose pages may read refusals."""
    port = ports.free_port()
    folder.chmod(0o755)
    configuration = folder / "nginx.conf"
    configuration.write_text(_adapted(folder, port, customers, favorites, page))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(NGINX), "-c", str(configuration), "-g", "daemon off;"), stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):
                assert process.returncode is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)
        yield Gateway(port, psutil.Process(process.pid))
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


def _adapted(folder: Path, port: int, customers: int, favorites: int, page: str) -> str:
    text = CONFIGURATION.read_text()
    for there, here in {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "customers-api:8000": f"127.0.0.1:{customers}",
        "favorites-api:8000": f"127.0.0.1:{favorites}",
        "/tmp/": f"{folder}/",
        "/dev/stdout": f"{folder}/access.log",
        "/dev/stderr": f"{folder}/error.log",
        '# "https://shop.example.org" $http_origin;': f'"{page}" $http_origin;' if page else "",
    }.items():
        assert there in text
        text = text.replace(there, here)
    assert re.search(r"^events", text, re.MULTILINE)
    return text


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
