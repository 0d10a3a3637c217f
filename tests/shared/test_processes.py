"""How a process of ours serves HTTP."""

import asyncio
import socket
from typing import Any

from vapteke_shared import processes

CLIENTS_IDLE_SECONDS = 5  # httpx keeps an idle connection for so long, and uvicorn would by default
REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_an_idle_connection_is_left_to_the_caller_to_close() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with processes.served(app, "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        first = await reader.readuntil(b"\r\n\r\n")

        await asyncio.sleep(CLIENTS_IDLE_SECONDS + 1)
        writer.write(REQUEST)
        second = await reader.readuntil(b"\r\n\r\n")

        writer.close()
        await writer.wait_closed()
    assert first.startswith(b"HTTP/1.1 204")
    assert second.startswith(b"HTTP/1.1 204")
