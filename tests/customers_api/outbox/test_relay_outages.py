"""The relay among kills, freezes and outages: nothing is lost, no key's order is broken, and it recovers by itself."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import databases
import pytest
from customers_api.outbox.oldest_rows import BATCH_ROWS
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from relays import Reader, RelayProcess, Writers, cut_off_leader, empty, leading, relay_processes, say
from vapteke_local.machine.processes import Process
from vapteke_local.servers import kafka, postgres
from vapteke_local.servers.kafka import Kafka
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.postgres import pools

Outage = Callable[[Process], AbstractAsyncContextManager[None]]
Disturb = Callable[[asyncpg.Pool, RelayProcess], Awaitable[None]]
LONG = [pytest.mark.prove, pytest.mark.timeout(900)]


async def with_topics(settings: WorkSettings, server: Kafka) -> WorkSettings:
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=server.bootstrap))
    return settings.model_copy(update={"kafka_bootstrap_servers": server.bootstrap})


@pytest.fixture
async def with_kafka(settings: WorkSettings, kafka_server: Kafka) -> WorkSettings:
    return await with_topics(settings, kafka_server)


@pytest.fixture(scope="module")
async def own_kafka(server_data: Path) -> AsyncIterator[Kafka]:
    """A broker that may be harmed."""
    async with kafka.serve(server_data / "relay-kafka") as server:
        yield server


@pytest.fixture
async def with_own_kafka(settings: WorkSettings, own_kafka: Kafka) -> WorkSettings:
    return await with_topics(settings, own_kafka)


class OwnPostgres(NamedTuple):
    """A server that may be harmed, with a migrated database."""

    process: Process
    settings: WorkSettings


@pytest.fixture
async def own_postgres(server_data: Path, with_kafka: WorkSettings) -> AsyncIterator[OwnPostgres]:
    async with postgres.serve(server_data / "relay-postgres") as server:
        name = await databases.migrated(server, SCHEMA, postgres.DATABASE)
        settings = WorkSettings(**{**with_kafka.model_dump(), **databases.place(server, SCHEMA, name)})
        yield OwnPostgres(server.process, settings)


async def kill(_: asyncpg.Pool, leader: RelayProcess) -> None:
    await leader.kill()
    await leader.start()


async def cut_off(pool: asyncpg.Pool, _: RelayProcess) -> None:
    await cut_off_leader(pool)


async def freeze_and_cut_off(pool: asyncpg.Pool, leader: RelayProcess) -> None:
    """It wakes with rows that its successor has sent meanwhile."""
    leader.signal(signal.SIGSTOP)
    await cut_off_leader(pool)
    await say(pool, "while it sleeps")
    async with asyncio.timeout(120):
        while await pool.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE key = 'while it sleeps')"):
            await asyncio.sleep(0.02)
    leader.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("disturb", "times"),
    [
        (kill, 3),
        (freeze_and_cut_off, 2),
        *(pytest.param(each, 40, marks=LONG) for each in (kill, cut_off, freeze_and_cut_off)),
    ],
)
async def test_a_disturbed_relay_loses_nothing_and_keeps_the_order(
    with_kafka: WorkSettings, pool: asyncpg.Pool, disturb: Disturb, times: int
) -> None:
    dice = random.Random(times)
    async with Reader(with_kafka.kafka_bootstrap_servers) as reader, relay_processes(with_kafka, 2) as processes:
        async with Writers(pool, seed=times) as writers:
            for _ in range(times):
                leader = await leading(pool, processes)
                await asyncio.sleep(dice.uniform(0, 1))
                await disturb(pool, leader)
        await empty(pool, 60)

        arrived = await reader.arrived()

    arrived.first.pop("while it sleeps", None)
    assert arrived.first == everything(writers)
    assert arrived.again <= times * BATCH_ROWS


@pytest.mark.prove
async def test_a_frozen_leader_is_replaced(with_kafka: WorkSettings, pool: asyncpg.Pool) -> None:
    async with relay_processes(with_kafka, 2) as processes:
        leader = await leading(pool, processes)
        leader.signal(signal.SIGSTOP)
        await say(pool, "while it sleeps")

        await empty(pool, 60)

        assert await leading(pool, processes) is not leader


@asynccontextmanager
async def killed(broker: Process) -> AsyncIterator[None]:
    """It is started again after a second, whatever the block does."""
    broker.kill()
    yield


@asynccontextmanager
async def stopped(broker: Process) -> AsyncIterator[None]:
    await broker.stop()
    yield
    await broker.start()


@asynccontextmanager
async def frozen(broker: Process) -> AsyncIterator[None]:
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


@pytest.mark.parametrize(("outage", "seconds"), [(killed, 2), (frozen, 2)])
async def test_a_short_outage_of_kafka_holds_up_no_writer(
    with_own_kafka: WorkSettings, own_kafka: Kafka, pool: asyncpg.Pool, outage: Outage, seconds: float
) -> None:
    async with Reader(with_own_kafka.kafka_bootstrap_servers) as reader, relay_processes(with_own_kafka) as [process]:
        await until_well(process)
        async with Writers(pool, seed=1) as writers:
            await commits(writers, 20)
            async with outage(own_kafka.brokers[0]):
                await commits(writers, 20)
                await asyncio.sleep(seconds)
            await commits(writers, 20)
        await empty(pool)

        assert (await reader.arrived()).first == everything(writers)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("outage", "seconds"), [(stopped, 20), (frozen, 20), (frozen, 60)])
async def test_a_long_outage_of_kafka_is_told_and_ends_by_itself(
    with_own_kafka: WorkSettings, own_kafka: Kafka, pool: asyncpg.Pool, outage: Outage, seconds: float
) -> None:
    async with Reader(with_own_kafka.kafka_bootstrap_servers) as reader, relay_processes(with_own_kafka) as [process]:
        await until_well(process)
        async with Writers(pool, seed=2) as writers:
            await commits(writers, 20)
            async with outage(own_kafka.brokers[0]):
                async with asyncio.timeout(seconds):
                    await until_ill(process)
                await asyncio.sleep(seconds / 2)
                await commits(writers, 20)
                waiting = await pool.fetchval("SELECT count(*) FROM outbox")
                assert await process.gauge("vapteke_outbox_rows") > waiting / 2
        await empty(pool, 60)

        assert (await reader.arrived()).first == everything(writers)
        assert await process.faults() == ""


@pytest.mark.parametrize("seconds", [0, pytest.param(15, marks=pytest.mark.prove)])
async def test_an_outage_of_postgres_is_told_and_ends_by_itself(own_postgres: OwnPostgres, seconds: float) -> None:
    settings = own_postgres.settings
    async with Reader(settings.kafka_bootstrap_servers) as reader, relay_processes(settings) as [process]:
        async with pools.create_pool(settings, SCHEMA, 4) as pool:
            await until_well(process)
            await say(pool, *(f"before-{number % 5}" for number in range(50_000)))
        await until_sent(process, 1)
        if seconds:
            await own_postgres.process.stop()
            await asyncio.sleep(seconds)
            await own_postgres.process.start()
        else:
            own_postgres.process.kill()
        await until_ill(process)
        await until_well(process)
        async with pools.create_pool(settings, SCHEMA, 4) as pool:
            await say(pool, "after")
            await empty(pool)

        arrived = await reader.arrived()

    assert arrived.first == {"after": [0]} | {f"before-{n}": list(range(n, 50_000, 5)) for n in range(5)}
    assert arrived.again <= BATCH_ROWS


def everything(writers: Writers) -> dict[str, list[int]]:
    return {key: list(range(count)) for key, count in writers.written.items()}


async def commits(writers: Writers, more: int) -> None:
    """Until they have written more transactions."""
    enough = writers.commits + more
    async with asyncio.timeout(120):
        while writers.commits < enough:
            await asyncio.sleep(0.01)


async def until_ill(process: RelayProcess) -> None:
    async with asyncio.timeout(60):
        while "waits: " not in await process.faults():
            await asyncio.sleep(0.02)


async def until_well(process: RelayProcess) -> None:
    async with asyncio.timeout(60):
        while await process.faults():
            await asyncio.sleep(0.02)


async def until_sent(process: RelayProcess, rows: int) -> None:
    async with asyncio.timeout(60):
        while await process.gauge("vapteke_outbox_sent_total") < rows:
            await asyncio.sleep(0.001)
