"""Real servers for all tests: one Postgres and one Apache Kafka for a whole run, started when a test first asks."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import containers
import pytest
import server_fixtures
from vapteke_local.machine import cleanup, processes
from vapteke_local.servers import kafka, postgres
from vapteke_local.servers.kafka import Kafka
from vapteke_local.servers.postgres import Postgres

_TESTS = Path(__file__).parent
_LONG = {"e2e", "faults", "local", "test_schema.py"}


def pytest_configure(config: pytest.Config) -> None:
    """Processes and temporary folders of this run are gone after it, even if it is killed."""
    processes.end_with_make()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # of pytest's own, which it keeps for a while
    exits = ExitStack()
    config.add_cleanup(exits.close)
    tempfile.tempdir = os.environ["TMPDIR"] = str(exits.enter_context(cleanup.temporary_folder("vapteke-tests-")))
    exits.callback(cleanup.kill_started)  # processes that a test started and could not end


def pytest_itemcollected(item: pytest.Item) -> None:
    """Sets the marker `server`, by which `make check` leaves a test out."""
    file = item.path.relative_to(_TESTS).as_posix()
    if server_fixtures.are_needed(file, getattr(item, "fixturenames", ())):
        item.add_marker("server")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the longest files first, so that near the end no worker waits minutes for the other."""
    items.sort(key=lambda item: not _LONG.intersection(item.path.parts))


def pytest_report_header() -> str:
    return containers.header()


@pytest.fixture(scope="session")
def server_data() -> Iterator[Path]:
    """Not pytest's own folder: started by root, Postgres runs as another user, who cannot enter that one."""
    folder = Path(tempfile.mkdtemp(prefix="vapteke-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def postgres_server(server_data: Path) -> AsyncIterator[Postgres]:
    """An empty server. `postgres_server.dsn` is for the superuser."""
    async with postgres.serve(server_data / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
async def kafka_server(server_data: Path) -> AsyncIterator[Kafka]:
    """One broker without topics. `kafka_server.bootstrap` is the list of its addresses."""
    async with kafka.serve(server_data / "kafka") as server:
        yield server
