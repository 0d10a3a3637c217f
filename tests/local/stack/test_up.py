"""`vapteke up` as a person runs it: real processes, one description, nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from running_stack import START_SECONDS
from vapteke_local import people
from vapteke_local.machine import ports
from vapteke_local.servers import kafka, postgres
from vapteke_local.servers.postgres import Postgres, Role
from walkthrough import blocks, differs, walk

VAPTEKE = Path(sys.executable).parent / "vapteke"
PROCESSES = {
    *("postgres", "kafka 1", "vaptekesync"),
    *(
        "customers-api serve",
        "customers-api work 1",
        "favorites-api serve",
        "favorites-api work 1",
        "legacy-importer 1",
    ),
}
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a parent's death")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder() -> Iterator[Path]:
    with new_folder() as folder:
        yield folder


@contextmanager
def new_folder() -> Iterator[Path]:
    """The folder of one stack, with its temporary files, so that a test can see what it leaves."""
    folder = Path(tempfile.mkdtemp(prefix="vapteke-test-"))
    try:
        folder.chmod(0o711)
        (folder / "tmp").mkdir()
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """The folder of a stack shared by the tests that do not change it."""
    with new_folder() as folder, started(folder, "--data", str(folder / "data")) as up:
        ready(folder, up)
        yield folder


@contextmanager
def started(folder: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), **variables}
    command: list[str | Path] = [VAPTEKE, "up", "--customers", "500", "--ready", folder / "ready.json", *options]
    with (folder / "output").open("wb") as output:
        up = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield up
    finally:
        if up.poll() is None:
            up.terminate()
        up.wait(120)


def ready(folder: Path, up: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while not (folder / "ready.json").exists():
        assert up.poll() is None, (folder / "output").read_text()
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.05)
    return described(folder)


def described(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / "ready.json").read_text())
    return description


def family(description: dict[str, Any]) -> list[psutil.Process]:
    parents = [psutil.Process(pid) for pid in description["processes"].values()]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


def listening_ports(description: dict[str, Any], processes: list[psutil.Process]) -> set[int]:
    """Postgres may run as another user, whose sockets not even root can see in a container."""
    mine = [process for process in processes if process.uids().real == os.getuid()]
    connections = [connection for process in mine for connection in process.net_connections("tcp")]
    postgres_port = urlsplit(description["postgres"]).port
    assert postgres_port is not None
    return {postgres_port, *(int(c.laddr[1]) for c in connections if c.status == psutil.CONN_LISTEN)}


def test_the_description_is_complete_and_nothing_is_left_after_sigterm(folder: Path) -> None:
    with started(folder) as up:
        description = ready(folder, up)
        processes = family(description)
        used = listening_ports(description, processes)
        answers = {name: httpx.get(f"{description[name]}/health/ready").status_code for name in URLS}

        up.send_signal(signal.SIGTERM)
        code = up.wait(120)

    assert answers == dict.fromkeys(URLS, 200)
    assert set(description) == {
        *URLS,
        *(
            "postgres",
            "kafka",
            "vaptekesync",
            "metrics",
            "secret_key",
            "token",
            "variables",
            "logs",
            "processes",
            "truth",
        ),
    }
    assert set(description["processes"]) == PROCESSES
    assert description["truth"] == people.truth(1, 500)
    assert set(description["vaptekesync"]) == {"host", "port", "database", "user", "password", "control_port"}
    assert code == 0
    assert [process for process in processes if process.is_running()] == []
    assert len(used) > len(PROCESSES)
    assert all(map(ports.is_free, used))
    assert sorted(path.name for path in folder.rglob("*")) == ["output", "tmp"]


URLS = ("customers_api", "favorites_api", "legacy_importer")


@only_linux
def test_sigkill_leaves_no_process_no_port_and_no_folder(folder: Path) -> None:
    with started(folder) as up:
        description = ready(folder, up)
        processes = family(description)
        used = listening_ports(description, processes)
        up.kill()

        up.wait()
        _, alive = psutil.wait_procs(processes, timeout=5)

    assert len(processes) > len(PROCESSES)
    assert alive == []
    assert all(map(ports.is_free, used))
    deadline = time.monotonic() + 30
    while [*(folder / "tmp").iterdir()]:
        assert time.monotonic() < deadline, "the temporary folder is still there"
        time.sleep(0.05)


def test_a_service_that_dies_is_started_again_and_the_description_follows(shared: Path) -> None:
    before = described(shared)
    os.kill(before["processes"]["customers-api serve"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (after := described(shared))["processes"] == before["processes"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = _answer(f"{after['customers_api']}/health/live", deadline)

    assert answer == 200
    assert {**after, "processes": None} == {**before, "processes": None}
    changed = {name for name, pid in after["processes"].items() if pid != before["processes"][name]}
    assert changed == {"customers-api serve"}


def _answer(url: str, deadline: float) -> int:
    while True:
        try:
            return httpx.get(url).status_code
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_data_keeps_the_state_and_the_addresses(folder: Path) -> None:
    descriptions = []
    for _ in range(2):
        with started(folder, "--data", str(folder / "data")) as up:
            descriptions.append({**ready(folder, up), "processes": None, "token": None})
            up.send_signal(signal.SIGINT)
            assert up.wait(120) == 0

    assert descriptions[0] == descriptions[1]
    assert (folder / "data/logs/customers-api-serve.log").exists()
    assert list((folder / "tmp").iterdir()) == []


def test_a_change_from_the_command_line_reaches_the_stand_in(shared: Path) -> None:
    first = legacy(shared, "add", "ID=2000000000", "Phone=79160000000")
    again = legacy(shared, "add", "ID=2000000000")

    assert (first.returncode, first.stdout) == (0, "the row is added\n")
    assert again.returncode == 1
    assert "2000000000" in again.stderr


def legacy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [VAPTEKE, "legacy", *arguments, "--ready", folder / "ready.json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_description_says_where_the_metrics_are(shared: Path) -> None:
    addresses = described(shared)["metrics"]

    answers = {name: httpx.get(address) for name, address in addresses.items()}

    assert set(addresses) == PROCESSES - {"postgres", "kafka 1", "vaptekesync"}
    assert all(answer.status_code == 200 and "process_cpu_seconds" in answer.text for answer in answers.values())
    output = (shared / "output").read_text()
    assert all(address.removeprefix("http://127.0.0.1") in output for address in addresses.values())


def test_the_services_accept_only_the_stacks_token(shared: Path) -> None:
    description = described(shared)
    listing = f"{description['customers_api']}/rest/v1/customers/"

    answers = [httpx.get(listing, headers=headers).status_code for headers in ({}, _header(description["token"]))]

    assert answers == [401, 200]
    assert "vapteke token" in (shared / "output").read_text()


def test_a_token_from_the_command_line_opens_its_scopes(shared: Path) -> None:
    ready_file = shared / "ready.json"
    command: list[str | Path] = [VAPTEKE, "token", "--scope", "imports:read", "--ttl", "5m", "--ready", ready_file]
    environment = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    token = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    host = described(shared)["customers_api"]

    imports, customers = (
        httpx.get(f"{host}/rest/v1/{name}/", headers=_header(token)) for name in ("imports", "customers")
    )

    assert (imports.status_code, customers.status_code) == (200, 403)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_readmes_walk_through_works_twice_in_a_row(shared: Path) -> None:
    running = shared / "cache/vapteke/running.json"  # where the commands look for the stack
    running.parent.mkdir(parents=True)
    running.symlink_to(shared / "ready.json")
    steps = [step for block in blocks() for step in block]

    answers = [await walk(steps, {"XDG_CACHE_HOME": str(shared / "cache")}) for _ in range(2)]

    assert steps[0].command == 'eval "$(.venv/bin/vapteke env)"'
    assert [answer for walked in answers for answer in walked if differs(answer)] == []
    updated = [re.findall('"updated":1,', "".join(answer.text for answer in walked)) for walked in answers]
    assert [len(found) for found in updated] == [1, 1]


def _header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_short_key_is_reported_in_one_line_before_anything_starts(folder: Path) -> None:
    with started(folder, SECRET_KEY="s3cret-v4lue") as up:
        code = up.wait(120)

    assert code == 1
    assert (folder / "output").read_text() == "configuration: SECRET_KEY: must have at least 32 bytes\n"
    assert list((folder / "tmp").iterdir()) == []


def test_a_missing_variable_of_an_external_dependency_is_named_at_once(folder: Path) -> None:
    with started(folder, "--external", "kafka", KAFKA_BOOTSTRAP_SERVERS="") as up:
        code = up.wait(120)

    assert code == 1
    assert "--external kafka: the variable KAFKA_BOOTSTRAP_SERVERS is missing" in (folder / "output").read_text()
    assert list((folder / "tmp").iterdir()) == []


async def test_every_dependency_can_be_external(folder: Path, shared: Path, postgres_server: Postgres) -> None:
    roles = [Role(name="elsewhere_owner", password="one", owner=True), Role(name="elsewhere_app", password="two")]
    await postgres.ensure_database(postgres_server, roles, "elsewhere")
    legacy = described(shared)["vaptekesync"]
    async with kafka.serve(folder / "kafka") as brokers:
        variables = {
            "POSTGRES_HOST": postgres_server.host,
            "POSTGRES_PORT": str(postgres_server.port),
            "POSTGRES_DB": "elsewhere",
            "POSTGRES_USER": "elsewhere_app",
            "POSTGRES_PASSWORD": "two",
            "POSTGRES_OWNER_USER": "elsewhere_owner",
            "POSTGRES_OWNER_PASSWORD": "one",
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(brokers.bootstrap),
            "VAPTEKESYNC_HOST": legacy["host"],
            "VAPTEKESYNC_PORT": str(legacy["port"]),
            "VAPTEKESYNC_DB": legacy["database"],
            "VAPTEKESYNC_USER": legacy["user"],
            "VAPTEKESYNC_PASSWORD": legacy["password"],
        }
        with started(folder, *EXTERNAL, **variables, VAPTEKESYNC_ENCRYPT="no") as up:
            description = ready(folder, up)

    assert set(description["processes"]) == PROCESSES - {"postgres", "kafka 1", "vaptekesync"}
    assert description["truth"] is None
    dsn = postgres_server.dsn_of("elsewhere", "elsewhere_owner", "one")
    assert description["postgres"] == f"{dsn}?target_session_attrs=read-write"
    assert description["kafka"] == brokers.bootstrap
    assert description["vaptekesync"] == {**legacy, "control_port": None}


EXTERNAL = [part for piece in ("postgres", "kafka", "vaptekesync") for part in ("--external", piece)]


def test_a_start_that_fails_shows_why_and_leaves_nothing(folder: Path) -> None:
    with started(folder, MSSQL_TIMEOUT="soon") as up:
        code = up.wait(START_SECONDS)

    output = (folder / "output").read_text()
    assert code == 1
    assert "legacy-importer 1 ended before it was ready" in output
    assert "MSSQL_TIMEOUT" in output
    assert list((folder / "tmp").iterdir()) == []


def test_a_stop_in_the_middle_of_the_start_leaves_nothing(folder: Path) -> None:
    with started(folder) as up:
        deadline = time.monotonic() + START_SECONDS
        while not psutil.Process(up.pid).children():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        children = psutil.Process(up.pid).children(recursive=True)
        up.send_signal(signal.SIGTERM)
        code = up.wait(120)

    assert code == 0
    assert [child for child in children if child.is_running()] == []
    assert list((folder / "tmp").iterdir()) == []


def test_two_stacks_do_not_share_a_folder(shared: Path) -> None:
    command: list[str | Path] = [VAPTEKE, "up", "--data", shared / "data", "--ready", shared / "second.json"]
    second = subprocess.run(command, capture_output=True, text=True, check=False)

    assert second.returncode == 1
    assert f"another stack runs on {shared / 'data'}" in second.stderr
