"""How fast the REST service answers, beside bare ASGI handlers and SQLModel's idiom (rivals.py).

They run at once over one Postgres, each as one process. In each round each is loaded alone for a moment, and ours
twice: the second time against the first is the noise. Ours runs as in production: with tokens, the audit log in a file,
and an event written for each customer created.
"""

import asyncio
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import filling
import http_load
import httpx
import psutil
from figures import Figure
from http_load import CREATE, LIST, ONE, PAGE, PAGES, PATH, Load
from rich.console import Console
from rich.table import Table
from vapteke_local.machine import cleanup, data_folder, ports, processes
from vapteke_local.machine.processes import Process, Program
from vapteke_local.stack import bearer_tokens, dependencies, services
from vapteke_local.stack.services import Environment

SERVICE, OURS, AGAIN = "customers-api", "ours", "again"
RIVALS = BAREST, BARE, IDIOM = "barest", "bare", "idiom"
TARGETS = {(ONE, BARE): 0.5, (ONE, IDIOM): 3.0, (LIST, IDIOM): 3.0}


class Size(NamedTuple):
    customers: int
    rounds: int
    seconds: float
    """Of one server in one round."""


class Round(NamedTuple):
    count: int
    rate: float
    """Requests per second."""
    median: float
    """Seconds until the answer; so is `p99`."""
    p99: float
    cpu: float
    """Seconds that the server took of a core."""
    load: float
    """How much of a core the load itself took."""


Servers = Mapping[str, tuple[int, Process]]
"""By name: its port, and its process."""
Rounds = Mapping[str, Sequence[Round]]
"""By the server's name."""


async def measure(size: Size) -> list[Figure]:
    """Show the figures, and return them."""
    with cleanup.temporary_folder("vapteke-bench-") as folder:
        async with AsyncExitStack() as stack:
            servers, token = await _started(stack, folder, size)
            await _compare(servers, token, size)
            bench = Bench(servers, token, size)
            taken = {operation: await bench.rounds(operation) for operation in (ONE, LIST, CREATE)}
    _show(taken, size)
    return [figure for operation, rounds in taken.items() for figure in _figures(operation, rounds)]


async def _started(stack: AsyncExitStack, folder: Path, size: Size) -> tuple[Servers, str]:
    """The servers, ready, and a token."""
    postgres = dependencies.own_postgres(folder, None, lambda _: None, lambda _: None)
    database = await stack.enter_async_context(postgres)
    key = data_folder.kept_secret(folder, "SECRET_KEY")
    environment = Environment(common={**database.env, "SECRET_KEY": key}, database=database, data=folder)
    [migrate] = [program for program in services.setup_commands(environment) if program.name == f"{SERVICE} migrate"]
    await processes.run(migrate)
    connection = await asyncpg.connect(database.dsn, server_settings={"search_path": "customers"})
    await filling.fill(connection, size.customers)
    await connection.close()
    ours = services.rest_process(environment, SERVICE)
    port_of = {name: ports.free_port() for name in RIVALS}
    rivals = [_rival(environment, name, port) for name, port in port_of.items()]
    started = await stack.enter_async_context(processes.running([ours.program, *rivals]))
    await processes.until_ready(started[0], ours.ready)
    for process, port in zip(started[1:], port_of.values(), strict=True):
        await processes.until_ready(process, partial(processes.listening, port))
    served = [int(ours.url.rsplit(":", 1)[1]), *port_of.values()]
    servers = dict(zip((OURS, *RIVALS), zip(served, started, strict=True), strict=True))
    return servers, bearer_tokens.issue(key, "bench", ["all"])


def _rival(environment: Environment, name: str, port: int) -> Program:
    return Program(
        name=name,
        command=[sys.executable, Path(__file__).with_name("rivals.py"), name, str(port)],
        log=environment.data / "logs" / f"{name}.log",
        env={**os.environ, **environment.common, **environment.database.app[SERVICE]},
    )


async def _compare(servers: Servers, token: str, size: Size) -> None:
    """Raises SystemExit: they do not answer the same, so their speed does not compare."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, trust_env=False) as client:
        for target in (f"{size.customers // 2}/", f"?limit={PAGE}&offset={PAGE * (PAGES - 1)}"):
            answers = [await client.get(f"http://127.0.0.1:{port}{PATH}{target}") for port, _ in servers.values()]
            bodies = [json.loads(answer.content, object_hook=_with_instant) for answer in answers]
            if any(body != bodies[0] for body in bodies):
                raise SystemExit(f"{target} is answered in different ways: {bodies}")


def _with_instant(body: dict[str, Any]) -> dict[str, Any]:
    """An instant may be written in several ways."""
    at = body.get("last_auth_at")
    return {**body, "last_auth_at": datetime.fromisoformat(at)} if at else body


class Bench:
    """The servers, and the process that loads them."""

    def __init__(self, servers: Servers, token: str, size: Size) -> None:
        self._servers, self._token, self._size, self._seed = servers, token, size, 0
        self._loader = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    async def rounds(self, operation: str) -> Rounds:
        """Each server in turn, beginning with another one each time; before that, each once to warm up."""
        order = [OURS, *RIVALS, AGAIN]
        for name in order:
            await self._round(name, operation)
        taken: dict[str, list[Round]] = {name: [] for name in order}
        for number in range(self._size.rounds):
            for name in order[number % 5 :] + order[: number % 5]:
                taken[name].append(await self._round(name, operation))
        return taken

    async def _round(self, name: str, operation: str) -> Round:
        port, process = self._servers[OURS if name == AGAIN else name]
        self._seed += 1
        load = Load(port, operation, self._token, self._seed, self._size.seconds, self._size.customers)
        before = _cpu(process)
        result = await asyncio.get_running_loop().run_in_executor(self._loader, http_load.run, load)
        cpu, count, latencies = _cpu(process) - before, len(result.latencies), sorted(result.latencies)
        median, p99 = latencies[count // 2], latencies[count * 99 // 100]
        return Round(count, count / result.seconds, median, p99, cpu, result.cpu_seconds / result.seconds)


def _cpu(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _figures(operation: str, rounds: Rounds) -> list[Figure]:
    return [
        Figure(f"{operation}, {server}: {name}", value, unit)
        for server in rounds
        for name, value, unit in [*_measured(rounds[server]), *_compared(server, rounds)]
    ]


def _measured(rounds: Sequence[Round]) -> list[Figure]:
    """The CPU is that of all rounds together: the system counts it in hundredths of a second."""
    cpu = sum(one.cpu for one in rounds) / sum(one.count for one in rounds)
    return [
        Figure("requests", statistics.median(one.rate for one in rounds), "requests/s"),
        Figure("half within", statistics.median(one.median for one in rounds) * 1e3, "ms"),
        Figure("99 % within", statistics.median(one.p99 for one in rounds) * 1e3, "ms"),
        Figure("CPU", cpu * 1e6, "µs/request"),
    ]


def _compared(server: str, rounds: Rounds) -> list[Figure]:
    """Ours as a multiple of each rival. Ours for the second time as a multiple of the first is the noise."""
    if server == AGAIN:
        return [Figure("against ours", _ratio(rounds[AGAIN], rounds[OURS]), "times")]
    if server != OURS:
        return []
    return [Figure(f"against {rival}", _ours_against(rival, rounds), "times") for rival in RIVALS]


def _ours_against(rival: str, rounds: Rounds) -> float:
    return _ratio([*rounds[OURS], *rounds[AGAIN]], [*rounds[rival]] * 2)


def _ratio(rounds: Sequence[Round], others: Sequence[Round]) -> float:
    """Within each round, as the machine was then."""
    return statistics.median(one.rate / other.rate for one, other in zip(rounds, others, strict=True))


def _show(taken: Mapping[str, Rounds], size: Size) -> None:
    console = Console()
    for operation, rounds in taken.items():
        console.print(_table(operation, rounds))
        noise = [again.rate / first.rate for first, again in zip(rounds[OURS], rounds[AGAIN], strict=True)]
        low, middle, high = statistics.quantiles(noise)
        busiest = max(one.load for server in rounds.values() for one in server)
        console.print(f"ours once more: {middle:.2f} times as fast ({low:.2f} to {high:.2f} in half of the rounds)")
        console.print(f"the load took up to {busiest:.0%} of a core\n")
    for (operation, rival), least in TARGETS.items():
        ratio = _ours_against(rival, taken[operation])
        verdict = "ok" if ratio >= least else "MISSED"
        console.print(f"{operation}: {ratio:.2f} of {rival}, target {least}: {verdict}")
    console.print(
        f"medians of {size.rounds} rounds of {size.seconds} s, {http_load.CONNECTIONS} connections,"
        f" {size.customers:,} customers"
    )


def _table(operation: str, rounds: Rounds) -> Table:
    columns = ("", "1/s", "p50, ms", "p99, ms", "CPU, µs", *(f"x {rival}" for rival in RIVALS))
    table = Table(*columns, title=operation, title_justify="left")
    for server, of_server in rounds.items():
        rate, median, p99, cpu = (figure.value for figure in _measured(of_server))
        ratios = (f"{_ratio(of_server, rounds[rival]):.2f}" for rival in RIVALS)
        table.add_row(server, f"{rate:,.0f}", f"{median:.2f}", f"{p99:.2f}", f"{cpu:,.0f}", *ratios)
    return table
