"""Loads one server over several connections, each of which sends its next request after the last response."""

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import uvloop
from vapteke_local.people.names import MALE

CONNECTIONS = 8
PATH = "/rest/v1/customers/"
PAGE, PAGES = 50, 20  # people look at the first pages of a list
ONE, LIST, CREATE = "GET one", "list of 50 with count", "create"
_REQUESTS = 5_000  # more than are answered in a round


class Load(NamedTuple):
    """One round. The seed makes the requests; no two seeds create a customer with the same phone."""

    port: int
    operation: str
    token: str
    seed: int
    seconds: float
    customers: int


class Result(NamedTuple):
    latencies: Sequence[float]
    seconds: float
    cpu_seconds: float
    """What the load itself took: near `seconds`, it was the limit and not the server."""


def run(load: Load) -> Result:
    """Runs in a process of its own: it must not share the interpreter of what it measures, nor wait for it."""
    return uvloop.run(_run(load))


async def _run(load: Load) -> Result:
    requests = iter(_requests(load))
    started, cpu = time.perf_counter(), time.process_time()
    connect = partial(asyncio.get_running_loop().create_connection, host="127.0.0.1", port=load.port)
    connections = [await connect(partial(Caller, requests, started + load.seconds)) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(caller.done for _, caller in connections))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    for transport, _ in connections:
        transport.close()
    return Result([latency for _, caller in connections for latency in caller.latencies], seconds, cpu)


class Caller(asyncio.Protocol):
    """One connection. It fails at the first answer that is no success."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self._requests, self._until, self._answer = requests, until, b""
        self.latencies: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, _, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self.latencies.append(time.perf_counter() - self._sent_at)
        if not _SUCCESS.match(head):
            self.done.set_exception(RuntimeError(self._answer.decode()))
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError())

    def _send(self) -> None:
        """The first request is always sent: a busy machine may take longer than the round to connect."""
        self._answer, self._sent_at = b"", time.perf_counter()
        is_over = self.latencies and self._sent_at >= self._until
        request = None if is_over else next(self._requests, None)
        if request is None:
            self.done.set_result(None)
        else:
            self._transport.write(request)


_LENGTH = re.compile(rb"(?i)content-length: (\d+)")
_SUCCESS = re.compile(rb"HTTP/1\.1 20[01] ")


def _requests(load: Load) -> list[bytes]:
    chance = random.Random(load.seed)
    makes: Mapping[str, Callable[[int], bytes]] = {
        ONE: lambda _: _request(load, "GET", f"{PATH}{chance.randint(1, load.customers)}/"),
        LIST: lambda _: _request(load, "GET", f"{PATH}?limit={PAGE}&offset={PAGE * chance.randrange(PAGES)}"),
        CREATE: lambda number: _request(load, "POST", PATH, _customer(load.seed * _REQUESTS + number)),
    }
    return [makes[load.operation](number) for number in range(_REQUESTS)]


def _request(load: Load, method: str, target: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {load.token}"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _customer(number: int) -> bytes:
    firstnames = MALE.split()
    customer = {
        "phone": f"77{number:09}",
        "firstname": firstnames[number % len(firstnames)],
        "lastname": "Вересаев",
        "email": f"new{number}@example.com",
        "birthday": "1988-02-03",
        "gender": "M",
        "city_id": 7,
        "last_auth_at": "2026-01-02T03:04:05.678Z",
    }
    return json.dumps(customer).encode()
