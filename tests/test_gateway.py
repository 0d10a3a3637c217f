"""The gateway in front of the services: slow or numerous callers are limited while others are served."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateways import Gateway, gateway, needs_nginx
from vapteke_local.machine import ports
from vapteke_shared.process import http_server, request_limits

pytestmark = needs_nginx
PAGE = "https://shop.example.org"
HEAD = b"POST /rest/v1/customers/ HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n"
SLOW_SECONDS = 2
MEMORY = 128 * 1024 * 1024


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body; to a stranger at once, without reading it."""
    if scope["type"] != "http":
        return
    size, more, status = 0, scope["path"] != "/stranger", 200 if scope["path"] != "/stranger" else 401
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = str(size).encode()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(request_limits, "BODY_SECONDS", SLOW_SECONDS)
    port, away = ports.free_port(), ports.free_port()
    async with http_server.served(app, "127.0.0.1", port), gateway(tmp_path, port, away, PAGE) as running:
        yield running


@asynccontextmanager
async def connected(nginx: Gateway, source: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


async def drip(nginx: Gateway, source: str, head: bytes, begun: bytes = b"") -> tuple[int, float]:
    """Status of the answer to a request that never ends, and seconds until the connection is closed."""
    start = time.monotonic()
    async with connected(nginx, source) as (reader, writer):
        reading = asyncio.create_task(all_of(reader))
        try:
            writer.write(head + begun)
            while not reading.done():
                writer.write(b"x")
                await writer.drain()
                await asyncio.wait([reading], timeout=1)
        except ConnectionError:
            pass  # closed meanwhile
        answer = await reading
    return int(answer.split()[1]) if answer else 0, time.monotonic() - start


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Until the connection is closed or reset."""
    answer = b""
    try:
        while part := await reader.read(65536):
            answer += part
    except ConnectionError:
        pass
    return answer


async def served(nginx: Gateway, source: str) -> int:
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with httpx.AsyncClient(transport=transport, timeout=20) as client:
        return (await client.post(f"http://127.0.0.1:{nginx.port}/rest/v1/customers/", content=b"x" * 1000)).status_code


async def under_attack(nginx: Gateway, attack: list[asyncio.Task[tuple[int, float]]]) -> tuple[list[int], int]:
    """How another address was served meanwhile, and the peak of the workers' memory."""
    others, peak = [], 0
    while not all(task.done() for task in attack):
        others.append(await served(nginx, "127.0.0.2"))
        peak = max(peak, sum(nginx.workers().values()))
        await asyncio.sleep(0.2)
    return others, peak


@pytest.mark.parametrize(("sources", "accepted"), [(1, 64), (8, 256)])
async def test_480_slow_bodies_are_bounded_and_closed_and_another_address_is_served(
    nginx: Gateway, sources: int, accepted: int
) -> None:
    workers = nginx.workers().keys()
    attack = [
        asyncio.create_task(drip(nginx, f"127.0.1.{number % sources + 1}", HEAD, b"x" * 150_000))
        for number in range(480)
    ]
    others, peak = await under_attack(nginx, attack)
    ended = [await task for task in attack]

    statuses = Counter(status for status, _ in ended)
    assert statuses.keys() == {408, 429}
    assert 0 < statuses[408] <= accepted
    assert max(seconds for _, seconds in ended) < 40
    assert peak < MEMORY
    assert nginx.workers().keys() == workers
    assert (others[-1], set(others) if sources == 1 else {200}) == (200, {200})


async def test_480_slow_heads_are_closed_and_another_address_is_served(nginx: Gateway) -> None:
    workers = nginx.workers().keys()
    head = b"GET / HTTP/1.1\r\nHost: test\r\na: " + b"b" * 60_000
    attack = [asyncio.create_task(drip(nginx, "127.0.1.1", head)) for _ in range(480)]

    others, peak = await under_attack(nginx, attack)

    assert max([(await task)[1] for task in attack]) < 40
    assert peak < MEMORY
    assert nginx.workers().keys() == workers
    assert set(others) == {200}


async def test_an_answer_that_comes_before_the_body_is_passed_on(nginx: Gateway) -> None:
    """The service closes while the gateway is still sending."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{nginx.port}", timeout=20) as client:
        answers = [await client.post("/stranger", content=b"x" * 250_000) for _ in range(50)]

    assert Counter(answer.status_code for answer in answers) == {401: 50}


@pytest.mark.parametrize(("origin", "allowed"), [(PAGE, PAGE), ("https://other.example.org", None), (None, None)])
async def test_an_allowed_page_can_read_what_the_gateway_refuses(
    nginx: Gateway, origin: str | None, allowed: str | None
) -> None:
    headers = {"origin": origin} if origin else {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{nginx.port}", headers=headers) as client:
        away = await client.get("/rest/v1/favorites/")
        too_large = await client.post("/rest/v1/customers/", content=b"x" * 300_000)

    assert (away.status_code, too_large.status_code) == (503, 413)
    for answer in (away, too_large):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Origin", "no-store")
        assert answer.json()["status"] == answer.status_code
