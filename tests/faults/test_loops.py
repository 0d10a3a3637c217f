"""Every background loop of every process fails in turn: the process ends, or its liveness turns red."""

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import customers_api.app
import customers_api.settings
import customers_api.tables
import databases
import favorites_api.app
import favorites_api.tables
import httpx
import legacy_importer.cli
import legacy_importer.settings
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.conn import AIOKafkaConnection
from task_faults import Main, TaskFaults
from tokens_for import SECRET_KEY
from vapteke_local.machine import ports
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.http import application
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process import settings
from vapteke_shared.process.loops import LoopEnded

SILENT_SECONDS = 4.0
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed AIOKafka:ResourceWarning")  # see kafka_clients_closed
LOOPS = {
    "customers-api serve": {"metrics", "serve", "watch"},
    "customers-api work": {
        "metrics",
        "watch",
        "legacy customers",
        "import progress",
        "relay",
        "outbox gauges",
        "sweeper",
        "texts",
    },
    "favorites-api serve": {"metrics", "serve", "watch"},
    "favorites-api work": {"metrics", "watch", "tidy", "customers"},
    "legacy-importer work": {"metrics", "tasks"},
}
ONE_SHOT = r"Task-|None$|main of |server of |connect |deadline at |cut connections at |end in "
"""Names of tasks that are no loops: what they do is bounded, or belongs to a loop that looks after them.

From Python 3.12 on, a task without a name is called None when a task factory has made it.
"""


class Around(NamedTuple):
    customers: dict[str, Any]
    favorites: dict[str, Any]
    kafka: Kafka


@pytest.fixture(scope="module")
async def around(postgres_server: Postgres, kafka_server: Kafka) -> Around:
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    found = []
    for schema in (customers_api.tables.SCHEMA, favorites_api.tables.SCHEMA):
        name = await databases.migrated(postgres_server, schema, f"{schema.name}_loops")
        found.append(databases.place(postgres_server, schema, name))
    return Around(*found, kafka_server)


@pytest.fixture(autouse=True)
async def kafka_clients_closed() -> AsyncIterator[None]:
    """A loop that is struck leaves its Kafka client open: the end of its process closes it, but here ours lives on."""
    yield
    for client in [each for each in gc.get_objects() if type(each) is AIOKafkaConsumer]:
        async with asyncio.timeout(20):
            await client.stop()
    for connection in [each for each in gc.get_objects() if type(each) is AIOKafkaConnection]:
        connection.close()
    gc.collect()


def main_of(around: Around, process: str, metrics_port: int) -> Main:
    """The process's own main, with settings of its own."""
    service, _, command = process.partition(" ")
    common: dict[str, Any] = {
        "metrics_port": metrics_port,
        "liveness_seconds": SILENT_SECONDS,
        "kafka_bootstrap_servers": around.kafka.bootstrap,
        "secret_key": SECRET_KEY,
        "http_port": ports.free_port(),
        **{f"vaptekesync_{name}": "none" for name in ("host", "db", "user", "password")},
        **(around.favorites if service == "favorites-api" else around.customers),
    }
    if command == "serve":
        app, kind = {
            "customers-api": (customers_api.app, customers_api.settings.ServeSettings),
            "favorites-api": (favorites_api.app, settings.ServeSettings),
        }[service]
        schema = getattr(app, "SCHEMA")  # noqa: B009
        return partial(application.serve, kind(**common), schema, app.create_app)
    working, kind = {
        "customers-api": (customers_api.app.working, customers_api.settings.WorkSettings),
        "favorites-api": (favorites_api.app.working, settings.WorkSettings),
        "legacy-importer": (legacy_importer.cli.working, legacy_importer.settings.WorkSettings),
    }[service]
    return partial(working, kind(**common))


class Running(NamedTuple):
    main: asyncio.Task[None]
    loops: Mapping[str, asyncio.Task[Any]]
    url: str

    async def restart_reasons(self) -> dict[str, str]:
        """What its liveness says; nobody there to say it counts as nothing."""
        try:
            async with httpx.AsyncClient(timeout=10) as client:
                answer = await client.get(self.url)
        except httpx.TransportError:
            return {}
        return dict(answer.json().get("faults", {}))


@asynccontextmanager
async def running(faults: TaskFaults, around: Around, process: str) -> AsyncIterator[Running]:
    """Once all its loops are there and none complains."""
    port, stopping = ports.free_port(), asyncio.Event()
    owner = f"{process} at {port}"
    main = faults.start(owner, main_of(around, process, port), stopping)
    url = f"http://127.0.0.1:{port}/health/live"
    async with asyncio.timeout(60):
        while not LOOPS[process] <= (tasks := faults.tasks(owner)).keys():
            assert not main.done(), main
            await asyncio.sleep(0.02)
    loops = {name: task for name, task in tasks.items() if not re.match(ONE_SHOT, name)}
    made = Running(main, loops, url)
    assert await made.restart_reasons() == {}
    try:
        yield made
    finally:
        stopping.set()
        done, _ = await asyncio.wait([main], timeout=30)
        assert done, "it does not stop"
        main.exception()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("process", LOOPS)
async def test_loops_that_hang_turn_liveness_red(around: Around, process: str) -> None:
    with TaskFaults().recording() as faults:
        async with running(faults, around, process) as struck:
            assert set(struck.loops) == LOOPS[process]

            for task in struck.loops.values():
                faults.inject(task, "hangs")

            async with asyncio.timeout(60):
                while set(await struck.restart_reasons()) != LOOPS[process]:
                    await asyncio.sleep(0.2)
            for task in struck.loops.values():
                task.cancel()


EVERY = [
    (process, loop, way)
    for process, loops in LOOPS.items()
    for loop in sorted(loops)
    for way in ("is cancelled", "raises")
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("process", "loop", "way"),
    [pytest.param(*each, marks=[pytest.mark.prove] if number % 3 else []) for number, each in enumerate(EVERY)],
)
async def test_a_loop_that_ends_by_itself_ends_its_process(around: Around, process: str, loop: str, way: str) -> None:
    with TaskFaults().recording() as faults:
        async with running(faults, around, process) as struck:
            faults.inject(struck.loops[loop], way)

            done, _ = await asyncio.wait([struck.main], timeout=60)

            assert done, "the process goes on"
            with pytest.raises(LoopEnded, match=f"^{loop}: "):
                struck.main.result()
