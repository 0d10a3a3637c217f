"""The vAptekeSync stand-in on a thread of its own, and settings that reach it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from legacy_importer.settings import WorkSettings
from vapteke_local import vaptekesync
from vapteke_local.vaptekesync import Server

Serve = Callable[..., AbstractContextManager[Server]]
SettingsFor = Callable[..., WorkSettings]
FREETDS_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu/odbc",
    "/usr/lib/aarch64-linux-gnu/odbc",
    "/opt/homebrew/lib",
    "/usr/lib64",
)


def customer(key: int) -> tuple[Any, ...]:
    """A made-up row of the default table."""
    return (key, f"8907{abs(key) % 10_000_000:07d}", "Виктор", f"Ёлкин-{key}", None, None, "М", 77, None)


@pytest.fixture(scope="session")
def serve() -> Serve:
    """`with serve(rows, table=…) as server`: the loop of the test is not the server's, so neither can hide a hang."""

    @contextmanager
    def running(*arguments: Any, **options: Any) -> Iterator[Server]:
        serving = vaptekesync.serve(*arguments, **options)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving) as server:
            yield server

    return running


def _freetds() -> str:
    for folder in FREETDS_FOLDERS:
        for library in Path(folder).glob("libtdsodbc.so*"):
            return str(library)
    pytest.skip("FreeTDS's ODBC driver is not here: install the Debian package tdsodbc")


@pytest.fixture(params=["microsoft", "freetds"])
def driver(request: pytest.FixtureRequest) -> str:
    """VAPTEKESYNC_DRIVER."""
    return "" if request.param == "microsoft" else _freetds()


@pytest.fixture
def freetds() -> str:
    """VAPTEKESYNC_DRIVER."""
    return _freetds()


@pytest.fixture
def settings_for() -> SettingsFor:
    """`settings_for(server, **changed)`, with deadlines that suit a test."""

    def make(server: Server, **changed: Any) -> WorkSettings:
        login: dict[str, Any] = {
            "vaptekesync_host": server.host,
            "vaptekesync_port": server.port,
            "vaptekesync_db": server.database,
            "vaptekesync_user": server.user,
            "vaptekesync_password": server.password,
            "vaptekesync_encrypt": "no",
        }
        rest = {"mssql_timeout": 1, "mssql_retries_sleep": 0.2, "kafka_bootstrap_servers": ["127.0.0.1:1"]}
        return WorkSettings(**(login | rest | changed))

    return make


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command("check", settings, VARIABLE="…")`: `legacy-importer check` as a process, with no other environment."""

    def run(arguments: str, settings: WorkSettings, **more: str) -> subprocess.CompletedProcess[str]:
        shown = {name.upper(): str(value) for name, value in settings.model_dump().items() if _is_plain(value)}
        shown["VAPTEKESYNC_PASSWORD"] = settings.vaptekesync_password.get_secret_value()
        shown["KAFKA_BOOTSTRAP_SERVERS"] = ",".join(settings.kafka_bootstrap_servers)
        words = [sys.executable, "-c", "from legacy_importer.cli import cli; cli()", *arguments.split()]
        # a thread that hangs would keep the process; a start alone takes 20 s on a busy machine
        return subprocess.run(words, env=shown | more, capture_output=True, text=True, timeout=90, check=False)

    return run


@pytest.fixture
def check(command: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`check(settings, VARIABLE="…")`."""
    return partial(command, "check")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """`await eventually(condition, seconds)`: looks until it holds."""

    async def wait(condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            await asyncio.sleep(0.02)

    return wait
