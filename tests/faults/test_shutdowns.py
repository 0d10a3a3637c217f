"""SIGTERM: every process ends in time with code 0, callers see no error, and a running import stays exact."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from load import Load
from running_stack import RunningStack, running_stack, verdict
from tokens_for import SECRET_KEY
from vapteke_local import people, vaptekesync
from vapteke_local.machine import ports, processes
from vapteke_local.vaptekesync import Server

SEED, COUNT = 9, 20_000
PROCESSES = (
    "customers-api serve",
    "customers-api work 1",
    "favorites-api serve",
    "favorites-api work 1",
    "legacy-importer 1",
)
PROBLEMS = ("both frozen", "both gone", "kafka frozen", "kafka gone", "postgres frozen", "postgres gone")
PROMISED_SECONDS = 25


class Surroundings(NamedTuple):
    stack: RunningStack
    legacy: Server


@pytest.fixture(scope="module")
async def around() -> AsyncIterator[Surroundings]:
    rows = [tuple(person) for person in people.generate(SEED, COUNT)]
    async with vaptekesync.serve(rows) as legacy, running_stack(legacy, IMPORT_RANGE_ROWS="1000") as stack:
        yield Surroundings(stack, legacy)


@pytest.fixture
async def stack(around: Surroundings) -> RunningStack:
    await all_ready(around.stack)
    await around.stack.forget_customers()
    return around.stack


def long_forms(*values: object) -> list[object]:
    return [pytest.param(value, marks=pytest.mark.prove) for value in values]


async def all_ready(stack: RunningStack) -> None:
    async with asyncio.timeout(90):
        while not all([await stack.is_ready(name) for name in PROCESSES]):
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """With their children: those of Postgres do its work."""
    whole = [each for pid in pids for each in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    for each in whole:
        each.suspend()
    try:
        yield
    finally:
        for each in whole:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()


@contextlib.contextmanager
def fault(stack: RunningStack, name: str) -> Iterator[None]:
    pieces = {"kafka": ["kafka 1"], "postgres": ["postgres"], "both": ["kafka 1", "postgres"]}
    piece, _, kind = name.partition(" ")
    if kind == "gone":
        for each in pieces[piece]:
            stack.kill(each)
        yield
        return
    with frozen(*(stack["processes"][each] for each in pieces[piece])):
        yield


async def mid_import(stack: RunningStack) -> str:
    """The URL of an import that has read some of its rows."""
    url = await stack.start_import()
    async with asyncio.timeout(30):
        while not (job := (await stack.client.get(url)).json())["read"]:
            await asyncio.sleep(0.01)
    assert job["read"] < COUNT
    return url


class Stop(NamedTuple):
    codes: dict[str, int | None]
    """How each process ended; None if not in time."""
    at: datetime


async def terminated(stack: RunningStack, *names: str, problem: str | None = None) -> Stop:
    """Send them SIGTERM; who starts them again looks away meanwhile."""
    pids = {name: stack["processes"][name] for name in names}
    keeper = psutil.Process(pids[names[0]]).ppid()
    os.kill(keeper, signal.SIGSTOP)
    try:
        with fault(stack, problem) if problem else contextlib.nullcontext():
            await asyncio.sleep(2 if problem else 0)  # so that somebody already waits
            at = datetime.now(UTC)
            for pid in pids.values():
                os.kill(pid, signal.SIGTERM)
            return Stop(await ended(pids), at)
    finally:
        os.kill(keeper, signal.SIGCONT)


async def ended(pids: dict[str, int]) -> dict[str, int | None]:
    codes: dict[str, int | None] = dict.fromkeys(pids)
    started = time.monotonic()
    while None in codes.values() and time.monotonic() < started + PROMISED_SECONDS:
        for name, pid in pids.items():
            if codes[name] is None and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                codes[name] = os.waitstatus_to_exitcode(int(Path(f"/proc/{pid}/stat").read_text().split()[-1]))
                print(f"{name}: {time.monotonic() - started:.1f} s")  # noqa: T201 - shown by `pytest -s`
        await asyncio.sleep(0.02)
    return codes


async def ended_exactly(stack: RunningStack, url: str, stop: Stop) -> None:
    """The import was running at the stop, went on after it, and is whole."""
    await all_ready(stack)
    job = await stack.ended(url, 120)
    assert datetime.fromisoformat(job["finished_at"]) > stop.at
    assert (job["status"], job["error"]) == ("completed", None)
    assert verdict(job) == people.truth(SEED, COUNT)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("names", [PROCESSES, *long_forms(*((name,) for name in PROCESSES))], ids=" and ".join)
async def test_a_stop_is_noticed_by_nobody(stack: RunningStack, names: tuple[str, ...]) -> None:
    loads = [
        Load(stack["customers_api"], stack["token"]),
        Load(stack["favorites_api"], stack["token"], "/rest/v1/favorites/?limit=5"),
    ]
    asking = asyncio.gather(*(load.run(seconds=7, rate=40) for load in loads))
    url = await mid_import(stack)

    stop = await terminated(stack, *names)

    assert stop.codes == dict.fromkeys(names, 0)
    await asking
    assert [load.errors for load in loads] == [{}, {}]
    assert [load.answers.keys() for load in loads] == [{200}, {200}]
    await ended_exactly(stack, url, stop)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("problem", [PROBLEMS[0], *long_forms(*PROBLEMS[1:])])
async def test_a_stop_in_mid_import_waits_for_nobody(stack: RunningStack, problem: str) -> None:
    url = await mid_import(stack)

    stop = await terminated(stack, *PROCESSES, problem=problem)

    assert stop.codes == dict.fromkeys(PROCESSES, 0)
    await ended_exactly(stack, url, stop)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("problem", PROBLEMS)
async def test_an_idle_stop_waits_for_nobody(stack: RunningStack, problem: str) -> None:
    stop = await terminated(stack, *PROCESSES, problem=problem)

    assert stop.codes == dict.fromkeys(PROCESSES, 0)


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_the_importer_does_not_wait_for_a_legacy_that_is_silent(
    around: Surroundings, stack: RunningStack
) -> None:
    silence = around.legacy.set_fault("silent", rows=500, times=1)
    url = await stack.start_import()
    async with asyncio.timeout(30):
        while silence.times:
            await asyncio.sleep(0.01)

    stop = await terminated(stack, "legacy-importer 1")

    assert stop.codes == {"legacy-importer 1": 0}
    await ended_exactly(stack, url, stop)


@pytest.mark.parametrize("there", ["who is silent", *long_forms("nobody")])
async def test_a_stop_during_the_start_ends_promptly(there: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if there == "who is silent" else ports.free_port()
        programs = await asyncio.gather(*(started(name.removesuffix(" 1"), port) for name in PROCESSES))
        await asyncio.sleep(1)  # so that they already ask in vain
        for program in programs:
            program.terminate()
        async with asyncio.timeout(PROMISED_SECONDS):
            codes = [await program.wait() for program in programs]

    assert codes == [0] * len(PROCESSES)


async def started(name: str, port: int) -> asyncio.subprocess.Process:
    """A process that lives, and whose Kafka, Postgres and vAptekeSync are at this port."""
    service, _, command = name.partition(" ")
    around = {"HOST": "127.0.0.1", "PORT": str(port), "DB": "none", "USER": "none", "PASSWORD": "none"}
    metrics = ports.free_port()
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).parent / service, command or "work"),
        env={
            **os.environ,
            **{f"{piece}_{key}": value for piece in ("POSTGRES", "VAPTEKESYNC") for key, value in around.items()},
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "SECRET_KEY": SECRET_KEY,
            "HTTP_PORT": str(ports.free_port()),
            "METRICS_PORT": str(metrics),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        while await processes.listening(metrics):
            await asyncio.sleep(0.1)
    return process
