"""How fast the REST service answers, beside bare ASGI handlers and SQLModel's idiom (rivals.py): `make bench`.

They run at once over one Postgres, each as one process. In each round each is loaded alone for a moment, and ours
twice: the second time against the first is the noise. Ours runs as in production: with tokens, the audit log in a file,
and an event written for each customer created.
"""

import asyncio
import json
import multiprocessing
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import psutil
import uvloop
from rich.console import Console
from rich.table import Table
from vapteke_local import leftovers, pieces, places, processes, services, tokens
from vapteke_local.names import FEMALE, MALE, SURNAMES
from vapteke_local.pieces import Database
from vapteke_local.processes import Process, Program
from vapteke_local.services import Surroundings

CUSTOMERS, CONNECTIONS, ROUNDS, SECONDS, REQUESTS = 78_553, 8, 25, 0.3, 5_000
PATH = "/rest/v1/customers/"
PAGES = 20  # what people page through: a list begins at one of the first
SERVICE, OURS, AGAIN = "customers-api", "ours", "again"
RIVALS = BAREST, BARE, IDIOM = "barest", "bare", "idiom"
ONE, LIST, CREATE = "GET one", "list of 50 with count", "create"
TARGETS = {(ONE, BARE): 0.5, (ONE, IDIOM): 3.0, (LIST, IDIOM): 3.0}

_FILL = (
    "INSERT INTO firstnames (name) SELECT unnest($1::text[])",
    "INSERT INTO phones (code, number) SELECT '7', (9000000000 + n)::text FROM generate_series(1, $1) n",
    """
    INSERT INTO customers (
        phone_id, phone_from, version, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at
    )
    SELECT
        p.id, 'import', 1, 1 + p.id % $1, ($2::text[])[1 + p.id % cardinality($2)], format('c%s@example.com', p.id),
        date '1950-01-01' + (p.id % 20000)::int, CASE p.id % 2 WHEN 0 THEN 'F' ELSE 'M' END, p.id % 100,
        timestamptz '2024-01-01 00:00:00.123Z' + p.id * interval '10 minutes'
    FROM phones p ORDER BY p.id
    """,
)


class Load(NamedTuple):
    """What is asked in one round; the seed makes the requests, and never the same phone twice."""

    port: int
    operation: str
    token: str
    seed: int
    seconds: float


class Told(NamedTuple):
    """`cpu` is what the load itself took: near `seconds`, it would be the limit."""

    latencies: Sequence[float]
    seconds: float
    cpu: float


class Round(NamedTuple):
    rate: float
    median: float
    p99: float
    cpu: float
    """The server's, in seconds per request."""
    load: float
    """The load's own share of a core."""


Taken = Mapping[str, Mapping[str, Sequence[Round]]]
"""By operation and name."""


class Caller(asyncio.Protocol):
    """A connection that asks the next thing as soon as it is answered, and looks at the status of every answer."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self._requests, self._until, self._answer = requests, until, b""
        self.latencies: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, _, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        self.latencies.append(time.perf_counter() - self._asked_at)
        if not _FINE.match(head):
            self.done.set_exception(RuntimeError(self._answer.decode()))
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError())

    def _ask(self) -> None:
        self._answer, self._asked_at = b"", time.perf_counter()
        request = next(self._requests, None) if self._asked_at < self._until else None
        if request is None:
            self.done.set_result(None)
        else:
            self._transport.write(request)


_LENGTH = re.compile(rb"(?i)content-length: (\d+)")
_FINE = re.compile(rb"HTTP/1\.1 20[01] ")


def load(asked: Load) -> Told:
    """Runs in a process of its own: it must not share the interpreter of what it measures, nor wait for it."""
    return uvloop.run(_load(asked))


async def _load(asked: Load) -> Told:
    requests = iter(_requests(asked))
    started, cpu = time.perf_counter(), time.process_time()
    connect = partial(asyncio.get_running_loop().create_connection, host="127.0.0.1", port=asked.port)
    open_ = [await connect(partial(Caller, requests, started + asked.seconds)) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(caller.done for _, caller in open_))
    seconds = time.perf_counter() - started
    for transport, _ in open_:
        transport.close()
    latencies = [latency for _, caller in open_ for latency in caller.latencies]
    return Told(latencies, seconds, time.process_time() - cpu)


def _requests(asked: Load) -> list[bytes]:
    chance = random.Random(asked.seed)
    makes: Mapping[str, Callable[[int], bytes]] = {
        ONE: lambda _: _request(asked, "GET", f"{PATH}{chance.randint(1, CUSTOMERS)}/"),
        LIST: lambda _: _request(asked, "GET", f"{PATH}?limit=50&offset={50 * chance.randrange(PAGES)}"),
        CREATE: lambda number: _request(asked, "POST", PATH, _person(asked.seed * REQUESTS + number)),
    }
    return [makes[asked.operation](number) for number in range(REQUESTS)]


def _request(asked: Load, method: str, target: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {asked.token}"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _person(number: int) -> bytes:
    first = MALE.split()
    person = {
        "phone": f"77{number:09}",
        "firstname": first[number % len(first)],
        "lastname": "Вересаев",
        "email": f"new{number}@example.com",
        "birthday": "1988-02-03",
        "gender": "M",
        "city_id": 7,
        "last_auth_at": "2026-01-02T03:04:05.678Z",
    }
    return json.dumps(person).encode()


async def _fill(database: Database) -> None:
    """As many customers as in production, each with a phone; one first name for some 200 of them."""
    firsts, lasts = sorted({*MALE.split(), *FEMALE.split()}), SURNAMES.split()
    connection = await asyncpg.connect(database.dsn, server_settings={"search_path": "customers"})
    for statement, values in zip(_FILL, [(firsts,), (CUSTOMERS,), (len(firsts), lasts)], strict=True):
        await connection.execute(statement, *values)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


class Bench:
    """The servers, by name, and the process that loads them."""

    def __init__(self, servers: Mapping[str, tuple[int, Process]], token: str) -> None:
        self._servers, self._token, self._seeds = servers, token, iter(range(1, 1_000))
        self._loader = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    async def compare(self) -> None:
        """Raises AssertionError: they do not answer the same, and comparing their speed would be idle."""
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {self._token}"}, trust_env=False) as client:
            for target in ("50000/", "?limit=50&offset=950"):
                told = [
                    await client.get(f"http://127.0.0.1:{port}{PATH}{target}") for port, _ in self._servers.values()
                ]
                bodies = [json.loads(answer.content, object_hook=_plain) for answer in told]
                assert all(body == bodies[0] for body in bodies), bodies

    async def rounds(self, operation: str) -> Mapping[str, list[Round]]:
        """Each server in turn, beginning with another one each time."""
        order = [OURS, *RIVALS, AGAIN]
        for name in order:
            await self._round(name, operation)
        taken: dict[str, list[Round]] = {name: [] for name in order}
        for number in range(ROUNDS):
            for name in order[number % 5 :] + order[: number % 5]:
                taken[name].append(await self._round(name, operation))
        return taken

    async def _round(self, name: str, operation: str) -> Round:
        port, process = self._servers[OURS if name == AGAIN else name]
        asked = Load(port, operation, self._token, next(self._seeds), SECONDS)
        before = _cpu(process)
        told = await asyncio.get_running_loop().run_in_executor(self._loader, load, asked)
        count, sorted_ = len(told.latencies), sorted(told.latencies)
        cpu = (_cpu(process) - before) / count
        return Round(
            count / told.seconds, sorted_[count // 2], sorted_[count * 99 // 100], cpu, told.cpu / told.seconds
        )


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """Instants may be spelled in different ways."""
    at = body.get("last_auth_at")
    return {**body, "last_auth_at": datetime.fromisoformat(at)} if at else body


def _cpu(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


async def _main() -> None:
    processes.end_with_make()
    with leftovers.folder("vapteke-bench-") as folder:
        async with AsyncExitStack() as exits:
            bench = Bench(*await _started(exits, folder))
            await bench.compare()
            _show({operation: await bench.rounds(operation) for operation in (ONE, LIST, CREATE)})


async def _started(exits: AsyncExitStack, folder: Path) -> tuple[Mapping[str, tuple[int, Process]], str]:
    """The servers, ready, and a token."""
    database = await exits.enter_async_context(pieces.own_postgres(folder, lambda _: None, lambda _: None))
    key = places.kept_secret(folder, "SECRET_KEY")
    around = Surroundings(common={**database.env, "SECRET_KEY": key}, database=database, data=folder)
    [migrate] = [program for program in services.commands(around) if program.name == f"{SERVICE} migrate"]
    await processes.run(migrate)
    await _fill(database)
    ours, ports = services.serving(around, SERVICE), {name: places.free_port() for name in RIVALS}
    rivals = [_rival(around, name, port) for name, port in ports.items()]
    started = await exits.enter_async_context(processes.running([ours.program, *rivals]))
    await processes.until_ready(started[0], ours.ready)
    for process, port in zip(started[1:], ports.values(), strict=True):
        await processes.until_ready(process, partial(processes.listening, port))
    served = [int(ours.url.rsplit(":", 1)[1]), *ports.values()]
    return dict(zip((OURS, *RIVALS), zip(served, started, strict=True), strict=True)), tokens.issue(
        key, "bench", ["all"]
    )


def _rival(around: Surroundings, name: str, port: int) -> Program:
    return Program(
        name=name,
        command=[sys.executable, Path(__file__).with_name("rivals.py"), name, str(port)],
        log=around.data / "logs" / f"{name}.log",
        env={**os.environ, **around.common, **around.database.app[SERVICE]},
    )


def _show(taken: Taken) -> None:
    console = Console()
    for operation, by_name in taken.items():
        console.print(_table(operation, by_name))
        noise = [again.rate / first.rate for first, again in zip(by_name[OURS], by_name[AGAIN], strict=True)]
        low, middle, high = statistics.quantiles(noise)
        busiest = max(one.load for rounds in by_name.values() for one in rounds)
        console.print(f"ours once more: {middle:.2f} times as fast ({low:.2f} to {high:.2f} in half of the rounds)")
        console.print(f"the load took up to {busiest:.0%} of a core\n")
    for (operation, rival), least in TARGETS.items():
        by_name = taken[operation]
        ratio = _ratio([*by_name[OURS], *by_name[AGAIN]], [*by_name[rival]] * 2)
        console.print(f"{operation}: {ratio:.2f} of {rival}, meant: {least}: {'ok' if ratio >= least else 'MISSED'}")
    console.print(f"medians of {ROUNDS} rounds of {SECONDS} s, {CONNECTIONS} connections, {CUSTOMERS:,} customers")


def _table(operation: str, by_name: Mapping[str, Sequence[Round]]) -> Table:
    columns = ("", "1/s", "p50, ms", "p99, ms", "CPU, µs", *(f"x {rival}" for rival in RIVALS))
    table = Table(*columns, title=operation, title_justify="left")
    for name, rounds in by_name.items():
        rate, median, p99, cpu, _ = (statistics.median(part) for part in zip(*rounds, strict=True))
        ratios = (f"{_ratio(rounds, by_name[rival]):.2f}" for rival in RIVALS)
        table.add_row(name, f"{rate:,.0f}", f"{median * 1e3:.2f}", f"{p99 * 1e3:.2f}", f"{cpu * 1e6:,.0f}", *ratios)
    return table


def _ratio(rounds: Sequence[Round], others: Sequence[Round]) -> float:
    """Within each round, as the machine was then."""
    return statistics.median(one.rate / other.rate for one, other in zip(rounds, others, strict=True))


if __name__ == "__main__":
    asyncio.run(_main())
