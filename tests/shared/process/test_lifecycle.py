"""How a process of ours serves HTTP, and how it stops."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from load import Load
from vapteke_local.machine import ports
from vapteke_shared.process import health, http_server

CLIENTS_IDLE_SECONDS = 5  # httpx keeps an idle connection for so long, and uvicorn would by default
REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
SLOW = REQUEST.replace(b"/ ", b"/slow ")
SLOW_SECONDS = 1.5


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await asyncio.sleep(SLOW_SECONDS if scope["path"] == "/slow" else 0)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_an_idle_connection_is_left_to_the_caller_to_close() -> None:
    port = ports.free_port()
    async with http_server.served(app, "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        first = await answer(reader)

        await asyncio.sleep(CLIENTS_IDLE_SECONDS + 1)
        writer.write(REQUEST)
        second = await answer(reader)

        writer.close()
        await writer.wait_closed()
    assert first.startswith(b"HTTP/1.1 204")
    assert second.startswith(b"HTTP/1.1 204")


@asynccontextmanager
async def serving(stopping: asyncio.Event) -> AsyncIterator[int]:
    """The port of a service that is told to stop within the block, and has stopped after it."""
    listener = http_server.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    task = asyncio.create_task(http_server.serve(app, listener, stopping))
    yield port
    await asyncio.wait_for(task, 120)


async def test_connections_are_asked_to_end_before_they_are_closed() -> None:
    stopping = asyncio.Event()
    async with serving(stopping) as port:
        kept, slow, idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in (kept, idle):
            writer.write(REQUEST)
            assert b"connection: close" not in await answer(reader)
        slow[1].write(SLOW)
        await asyncio.sleep(0.2)

        stopping.set()
        await asyncio.sleep(0.5)
        kept[1].write(REQUEST)

        for reader, writer in (kept, slow):
            told = await answer(reader)
            assert told.startswith(b"HTTP/1.1 204")
            assert b"connection: close" in told
            assert await reader.read() == b""
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert not idle[0].at_eof()
        assert await idle[0].read() == b""
        idle[1].close()


async def test_a_connection_accepted_by_the_kernel_is_served() -> None:
    stopping = asyncio.Event()
    listener = http_server.listen("127.0.0.1", 0)
    address = listener.getsockname()
    task = asyncio.create_task(http_server.serve(app, listener, stopping))
    callers = asyncio.create_task(late(listener, address))
    await asyncio.sleep(0.2)

    stopping.set()

    for caller in await callers:
        reader, writer = await asyncio.open_connection(sock=caller)
        assert (await answer(reader)).startswith(b"HTTP/1.1 204")
        writer.close()
        await writer.wait_closed()
    await asyncio.wait_for(task, 120)


async def late(listener: socket.socket, address: tuple[str, int]) -> list[socket.socket]:
    """Who connects and asks when the loop has just let go of the listener."""
    while listener.fileno() != -1:
        await asyncio.sleep(0)
    callers = [socket.create_connection(address) for _ in range(20)]
    for caller in callers:
        caller.sendall(REQUEST)
    return callers


async def test_a_shutdown_under_load_causes_no_error() -> None:
    stopping = asyncio.Event()
    async with serving(stopping) as port:
        load = Load(f"http://127.0.0.1:{port}", "")
        asyncio.get_running_loop().call_later(1.5, stopping.set)

        await load.run(seconds=3, rate=200)

    assert load.errors == {}
    assert load.refused
    assert load.answers.keys() == {204}


HANGING = """
import asyncio, os, sys, threading, time
from vapteke_shared.process import lifecycle
from vapteke_shared.process.settings import Settings

lifecycle._LAST_SECONDS = 1

async def main(settings, stopping):
    if "mute" in sys.argv:
        threading.Thread(target=os.write, args=(1, bytes(1 << 20)), daemon=True).start()
    if "broken" in sys.argv:
        asyncio.all_tasks = None
    os.write(2, b"started\\n")
    await asyncio.to_thread(time.sleep, 60)

lifecycle.run(Settings, main)
"""


@pytest.mark.parametrize("how", ["clear", "mute", "broken"])
def test_a_hanging_process_exits_and_logs_the_reason_if_it_can(how: str) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HANGING, how], **pipes, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "started\n"
        os.kill(process.pid, signal.SIGTERM)
        try:
            assert process.wait(10) == 1
        finally:
            process.kill()
        said = process.stdout.read()

    assert ("did not shut down in time: " in said) is (how == "clear")


COLLECTING = """
import gc, weakref
from vapteke_shared.process import lifecycle
from vapteke_shared.process.settings import Settings

class Cycle:
    def __init__(self):
        self.itself = self

async def main(settings, stopping):
    collections = lambda: sum(generation["collections"] for generation in gc.get_stats())
    before = collections()
    batch = [[number] for number in range(40_000)]
    print(collections() - before)

    cycles = [weakref.ref(Cycle()) for _ in range(200_000)]
    print(sum(cycle() is not None for cycle in cycles) < 100_000)

lifecycle.run(Settings, main)
"""


def test_a_large_batch_is_not_searched_for_garbage_again_and_again_but_garbage_is_collected() -> None:
    process = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True, check=True, timeout=60)

    searches, is_collected = process.stdout.split()
    assert int(searches) <= 1
    assert is_collected == "True"


async def test_the_health_check_prints_the_fault() -> None:
    port, state = ports.free_port(), health.Health("postgres")
    state.report_fault("postgres", "Postgres does not\nanswer")
    async with http_server.served(health.create_app(state), "127.0.0.1", port):
        ill = await checked(port)
        state.report_ready("postgres")
        well = await checked(port)
    away = await checked(port)

    assert ill == (1, '{"status":"not ready","faults":{"postgres":"Postgres does not\\nanswer"}}\n')
    assert well == (0, "")
    assert away == (1, "ConnectionRefusedError: [Errno 111] Connection refused\n")


async def checked(port: int) -> tuple[int, str]:
    """Exit code and words of the container's health check."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vapteke_shared.healthcheck"),
        env={**os.environ, "METRICS_PORT": str(port)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    return process.returncode or 0, told.decode()
