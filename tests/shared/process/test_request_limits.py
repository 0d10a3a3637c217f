"""What a caller sends is bounded in size, number and time, whatever it is, and memory stays flat."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from vapteke_local.machine import ports
from vapteke_shared.process import addresses, health, http_server, request_limits

GET = b"GET / HTTP/1.1\r\nHost: test\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"Connection: close\r\n\r\n"
MIB = 1024 * 1024
FLAT_MIB = 48
TIMELY = 20  # seconds within which a refusal is certain on any machine


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the headers that it sees and the size of the body."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    names = [name.decode() for name, _ in scope["headers"]]
    body = json.dumps([names, size, scope["client"][0]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    number = ports.free_port()
    async with http_server.served(app, "127.0.0.1", number):
        yield number


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def told(port: int, *parts: bytes, pause: float = 0) -> tuple[int, str]:
    """Status and body of the answer to all of this; 0 when there is none. The connection must end by itself."""
    async with connection(port) as (reader, writer), asyncio.timeout(TIMELY):
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass  # refused, and closed meanwhile
        try:
            answer = await reader.read()
        except ConnectionError:
            return 0, ""
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def code(body: str) -> str:
    return str(json.loads(body)["code"])


def flood(start: bytes, piece: bytes, mib: int) -> Iterable[bytes]:
    yield start
    block = piece * (MIB // len(piece))
    for _ in range(mib):
        yield block


@pytest.mark.parametrize(
    ("start", "piece", "status", "expected"),
    [
        (GET, b"a: b\r\n", 431, "headers_too_large"),
        (GET + b"a: ", b"b", 431, "headers_too_large"),
        (GET, b"a", 431, "headers_too_large"),
        (b"GET /", b"a", 414, "uri_too_long"),
        (b"", b"\r\n", 431, "headers_too_large"),
        (CHUNKED + b"1;", b"extension", 413, "body_too_large"),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"a: b\r\n", 413, "body_too_large"),
        (CHUNKED + b"1\r\nx\r\n0\r\na: ", b"b", 413, "body_too_large"),
        (CHUNKED, b"1\r\nx\r\n", 413, "body_too_large"),
    ],
    ids=["headers", "value", "name", "line", "line breaks", "extension", "trailers", "trailer", "chunks"],
)
async def test_a_flood_is_refused_and_memory_stays_flat(
    port: int, start: bytes, piece: bytes, status: int, expected: str
) -> None:
    before = psutil.Process().memory_info().rss
    peak = _peak()

    got, body = await told(port, *flood(start, piece, 38))

    assert (got, code(body)) == (status, expected)
    assert psutil.Process().memory_info().rss - before < FLAT_MIB * MIB
    assert _peak() - max(peak, before) < FLAT_MIB * MIB


def _peak() -> int:
    """Bytes: Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET + b"a: b\r\n" * 98 + LAST, 200),
        (GET + b"a: b\r\n" * 99 + LAST, 431),
        (GET + b"a: " + b"b" * 65_000 + b"\r\n" + LAST, 200),
        (GET + b"a: " + b"b" * 65_537 + b"\r\n" + LAST, 431),
        (b"GET /" + b"a" * 65_000 + b" HTTP/1.1\r\n" + LAST, 200),
        (b"GET /" + b"a" * 65_537 + b" HTTP/1.1\r\n" + LAST, 414),
        (b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n" + LAST + b"x" * 1_000_000, 200),
        (b"\x16\x03\x01" * 100, 400),
    ],
    ids=["100 headers", "101 headers", "64 KB", "over 64 KiB", "long line", "longer line", "body", "no HTTP"],
)
async def test_each_limit_is_exact(port: int, request_: bytes, status: int) -> None:
    got, body = await told(port, request_)

    assert got == status
    assert status == 200 or json.loads(body)["status"] == status


async def test_trailers_never_become_headers(port: int) -> None:
    asked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    sent = b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\nIf-Match: 1\r\n\r\n"

    together, apart = await told(port, asked + sent), await told(port, asked, sent, pause=0.05)

    assert json.loads(together[1])[:2] == json.loads(apart[1])[:2] == [["transfer-encoding", "connection"], 1]


async def test_pipelined_requests_are_answered_in_order_and_their_number_is_bounded(port: int) -> None:
    async with connection(port) as (reader, writer):
        writer.write((GET + b"\r\n") * 49 + GET + LAST)
        answers = await asyncio.wait_for(reader.read(), TIMELY)
    before = psutil.Process().memory_info().rss

    await told(port, *flood(b"", GET + b"\r\n", 38))

    assert answers.count(b"HTTP/1.1 200 OK") == 50
    assert psutil.Process().memory_info().rss - before < FLAT_MIB * MIB


async def test_every_pipelined_request_learns_that_its_caller_is_gone() -> None:
    told_of, answered = asyncio.Event(), asyncio.Event()

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive())["type"] != "http.disconnect":
                pass
            told_of.set()
            await send({"type": "http.response.start", "status": 200})
            answered.set()

    port = ports.free_port()
    async with http_server.served(patient, "127.0.0.1", port):
        async with connection(port) as (_, writer):
            writer.write((GET + b"\r\n") * 3)
            await writer.drain()

        await asyncio.wait_for(told_of.wait(), TIMELY)
        await asyncio.wait_for(answered.wait(), TIMELY)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "HEADERS_SECONDS", 0.3)
    monkeypatch.setattr(request_limits, "BODY_SECONDS", 0.3)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("start", "drop", "status"),
    [
        (b"", b"", 0),
        (b"", b"\r\n", 408),
        (b"GET / HTTP/1.1\r\n", b"a", 408),
        (b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n", b"a", 408),
        (CHUNKED, b"1\r\na\r\n", 408),
        (CHUNKED + b"0\r\n", b"a", 408),
    ],
    ids=["nothing", "line breaks", "headers", "body", "chunks", "trailers"],
)
async def test_a_slow_request_is_rejected(port: int, start: bytes, drop: bytes, status: int) -> None:
    assert (await told(port, start, *[drop] * 20, pause=0.05))[0] == status


@pytest.mark.usefixtures("hurried")
async def test_a_kept_alive_connection_has_the_same_deadlines(port: int) -> None:
    async with connection(port) as (reader, writer), asyncio.timeout(TIMELY):
        writer.write(GET + b"\r\n")
        first = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.6)  # idle: that may last
        writer.write(GET)
        rest = await reader.read()

    assert first.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in rest


@pytest.mark.usefixtures("hurried")
async def test_a_slow_response_is_not_cut_off_by_the_next_request() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(0.9)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    port = ports.free_port()
    async with http_server.served(slow, "127.0.0.1", port), connection(port) as (reader, writer):
        writer.write(GET + b"\r\n" + GET)  # the second one is not finished
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMELY)

    assert answer.startswith(b"HTTP/1.1 204")


async def test_stray_line_breaks_do_not_keep_a_connection_open(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_IDLE_SECONDS", 0.5)
    number = ports.free_port()
    async with http_server.served(app, "127.0.0.1", number), connection(number) as (reader, writer):
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n")

        assert b"HTTP" not in await asyncio.wait_for(reader.read(), TIMELY)


async def test_connections_above_the_limit_are_rejected_and_the_others_served(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_limits, "MAX_CONNECTIONS", 3)
    async with connection(port) as (reader, writer), connection(port), connection(port):
        await asyncio.sleep(0.1)
        turned_away = [await told(port, GET + LAST) for _ in range(5)]
        writer.write(GET + b"\r\n")
        served = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMELY)

    assert {(status, code(body)) for status, body in turned_away} == {(503, "too_many_connections")}
    assert served.startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(TIMELY):
        while (await told(port, GET + LAST))[0] != 200:
            await asyncio.sleep(0.05)


async def test_a_caller_that_does_not_read_the_response_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_UNREAD_SECONDS", 1)
    ended = asyncio.Event()

    async def large(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(500):
                await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
            ended.set()

    port = ports.free_port()
    async with http_server.served(large, "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(GET + b"\r\n")

        await asyncio.wait_for(ended.wait(), 60)

        writer.transport.abort()
    assert not reader.at_eof()


async def test_the_metrics_port_has_the_same_limits() -> None:
    number = ports.free_port()
    async with http_server.served(health.create_app(health.Health()), "127.0.0.1", number):
        status, body = await told(number, *flood(GET, b"a: b\r\n", 38))
        well, _ = await told(number, b"GET /metrics HTTP/1.1\r\nHost: test\r\n" + LAST)

    assert (status, code(body), well) == (431, "headers_too_large", 200)


async def test_a_response_sent_before_the_whole_body_is_not_lost() -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 401, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": b""})

    port = ports.free_port()
    async with http_server.served(early, "127.0.0.1", port), connection(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n")
        await asyncio.sleep(0.2)
        for _ in range(20):
            writer.write(b"x" * 10_000)
            await writer.drain()
            await asyncio.sleep(0.01)
        answer = await asyncio.wait_for(reader.read(), TIMELY)

    assert answer.startswith(b"HTTP/1.1 401")
