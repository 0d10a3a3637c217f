"""Relays that run, rows for them to send, and what has arrived of these."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import psutil
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from customers_api.outbox import messages
from customers_api.outbox.messages import Message
from customers_api.outbox.relay import Relay
from customers_api.settings import WorkSettings
from running_stack import START_SECONDS
from vapteke_local.machine import ports
from vapteke_shared.contract import topics

TOPIC = topics.CUSTOMERS.name
PARTITIONS = [TopicPartition(TOPIC, number) for number in range(topics.CUSTOMERS.partitions)]
PROGRAM = Path(__file__).parent / "relay_process.py"


class Running:
    """Relays in this process, until the block ends."""

    def __init__(self, *relays: Relay) -> None:
        self._stopping = asyncio.Event()
        self._relays = relays

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(relay.run(self._stopping)) for relay in self._relays]

    async def __aexit__(self, *_: Any) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)


class RelayProcess:
    """A relay in a process of its own; started again after `kill` by `start`."""

    def __init__(self, settings: WorkSettings) -> None:
        self._port = ports.free_port()
        self._environment = {
            "POSTGRES_HOST": ",".join(settings.postgres_host),
            "POSTGRES_PORT": ",".join(map(str, settings.postgres_port)),
            "POSTGRES_DB": settings.postgres_db,
            "POSTGRES_USER": settings.postgres_user,
            "POSTGRES_PASSWORD": settings.postgres_password.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
            "METRICS_PORT": str(self._port),
            "LOG_LEVEL": "ERROR",
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, PROGRAM, env={**os.environ, **self._environment}, stdout=asyncio.subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is started"
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGCONT)
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), 120)

    async def faults(self) -> str:
        """What its health says is wrong, as text; empty: nothing."""
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                answer = await client.get(f"http://127.0.0.1:{self._port}/health/ready")
        except httpx.TransportError as error:
            return f"no answer: {type(error).__name__}"
        return "" if answer.status_code == 200 else str(answer.json()["faults"])

    async def gauge(self, name: str) -> float:
        async with httpx.AsyncClient(timeout=5) as client:
            lines = (await client.get(f"http://127.0.0.1:{self._port}/metrics")).text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@asynccontextmanager
async def relay_processes(settings: WorkSettings, count: int = 1) -> AsyncIterator[list[RelayProcess]]:
    processes = [RelayProcess(settings) for _ in range(count)]
    try:
        for process in processes:
            await process.start()
        yield processes
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


async def say(pool: asyncpg.Pool, *keys: str, topic: str = TOPIC) -> None:
    """One transaction; the value of a message is its place."""
    async with pool.acquire() as connection, connection.transaction():
        written = [Message(key, {"ce_type": "test"}, str(place).encode()) for place, key in enumerate(keys)]
        await messages.add(connection, topic, written)


async def empty(pool: asyncpg.Pool, seconds: float = 30) -> None:
    """Until nothing waits any more."""
    async with asyncio.timeout(seconds):
        while await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
            await asyncio.sleep(0.05)


async def leading(pool: asyncpg.Pool, processes: Sequence[RelayProcess]) -> RelayProcess:
    """The process that leads, once one does: whose connection holds the lock."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            port = await pool.fetchval(_LEADER, "client_port")
            for process in processes:
                if port and port in {c.laddr.port for c in psutil.Process(process.pid).net_connections("tcp")}:
                    return process
            await asyncio.sleep(0.02)


async def cut_off_leader(pool: asyncpg.Pool) -> None:
    """End the connection that holds the lock."""
    await pool.execute(f"SELECT pg_terminate_backend(({_LEADER.replace('$1', repr('pid'))})::int)")


_LEADER = """
SELECT CASE $1 WHEN 'pid' THEN a.pid ELSE a.client_port END FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.objid::bigint = (hashtext('customers.outbox')::bigint & 4294967295)
    AND a.datname = current_database()
"""


class Writers:
    """Write numbered messages, each writer under keys of its own, until the block ends.

    Their transactions roll back now and then and take their time to commit: ids are lost, and seen out of order.
    """

    def __init__(self, pool: asyncpg.Pool, seed: int, count: int = 4) -> None:
        self._pool, self._seed, self._count = pool, seed, count
        self._run = uuid4().hex[:8]
        self._stopping = asyncio.Event()
        self.written: dict[str, int] = defaultdict(int)
        """How many of each key are committed: their values are the numbers below."""
        self.commits = 0

    async def __aenter__(self) -> "Writers":
        dice = [random.Random(self._seed * 1000 + number) for number in range(self._count)]
        self._tasks = [asyncio.create_task(self._write(number, dice[number])) for number in range(self._count)]
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _write(self, number: int, dice: random.Random) -> None:
        keys = [f"{self._run}-{number}-{key}" for key in range(10)]
        while not self._stopping.is_set():
            chosen = [dice.choice(keys) for _ in range(dice.choice((1, 20, 200)))]
            await self._transaction(chosen, dice.random() < 0.1, dice.choice((0, 0, 0.001, 0.05)))
            await asyncio.sleep(dice.choice((0, 0.01, 0.05)))

    async def _transaction(self, chosen: Sequence[str], rolls_back: bool, seconds: float) -> None:
        after = dict(self.written)
        written = []
        for key in chosen:
            number = after.get(key, 0)
            written.append(Message(key, {"ce_type": "test"}, str(number).encode()))
            after[key] = number + 1
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await messages.add(connection, TOPIC, written)
            await asyncio.sleep(seconds)
            if rolls_back:
                await transaction.rollback()
                return
            await transaction.commit()
        self.written.update({key: after[key] for key in chosen})
        self.commits += 1


class Arrived(NamedTuple):
    """`first`: of each key, the values in the order in which each came first; `again`: how many came once more."""

    first: dict[str, list[int]]
    again: int


class Reader:
    """Reads from the place where the topic ended when it was made, committed records alone."""

    def __init__(self, bootstrap: list[str]) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    async def __aenter__(self) -> "Reader":
        try:
            await self._consumer.start()
            self._consumer.assign(PARTITIONS)
            for partition, end in (await self._consumer.end_offsets(PARTITIONS)).items():
                self._consumer.seek(partition, end)
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._consumer.stop()

    async def records(self, seconds: float = 60) -> list[ConsumerRecord]:
        """All that is there now, each partition in its order."""
        ends = await self._consumer.end_offsets(PARTITIONS)
        read: list[ConsumerRecord] = []
        deadline = time.monotonic() + seconds
        while any([await self._consumer.position(place) < end for place, end in ends.items()]):
            assert time.monotonic() < deadline, "an open transaction keeps the readers waiting"
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                read += records
        return read

    async def arrived(self) -> Arrived:
        seen: dict[str, dict[int, None]] = defaultdict(dict)
        again = 0
        for record in await self.records():
            key, value = record.key.decode(), int(record.value)
            again += value in seen[key]
            seen[key][value] = None
        return Arrived({key: list(values) for key, values in seen.items()}, again)
