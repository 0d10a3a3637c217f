"""While Kafka or Postgres is away, each process logs the cause once, a new cause once, and the end of it."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from running_stack import START_SECONDS
from structlog.testing import capture_logs
from vapteke_local.machine import ports
from vapteke_shared.process.health import STARTING, WAITS, Health
from vapteke_shared.process.logs import KafkaNoise

REFUSED = "Kafka at 127.0.0.1:1 cannot be reached (Connection refused): check KAFKA_BOOTSTRAP_SERVERS"
MISSING = "topics are missing"
NOWHERE = {
    **{f"POSTGRES_{name}": "nowhere" for name in ("DB", "USER", "PASSWORD")},
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    **{f"VAPTEKESYNC_{name}": "nowhere" for name in ("HOST", "DB", "USER", "PASSWORD")},
}


def test_a_cause_is_logged_when_it_appears_changes_and_is_over() -> None:
    with capture_logs() as logged:
        health = Health("one", "two")
        for _ in range(20):
            health.report_fault("one", REFUSED)
            health.report_fault("two", f"{WAITS}{REFUSED}")
        for need in ("one", "two", "one"):
            health.report_fault(need, MISSING)
        for need in ("one", "two", "one"):
            health.report_ready(need)

    assert [(each["event"], each["cause"], each["log_level"]) for each in logged] == [
        ("not ready", REFUSED, "warning"),
        ("not ready", MISSING, "warning"),
        ("cause is over", REFUSED, "info"),
        ("cause is over", MISSING, "info"),
    ]


def test_a_start_without_a_fault_logs_nothing() -> None:
    with capture_logs() as logged:
        health = Health("one")
        before = dict(health.faults)
        health.report_ready("one")

    assert (before, logged) == ({"one": STARTING}, [])


@pytest.fixture
def passed() -> Iterator[list[str]]:
    """What of the Kafka client's records reaches the log."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    handler.addFilter(KafkaNoise())
    logger = logging.getLogger("aiokafka.of_a_test")
    logger.addHandler(handler)
    logger.propagate = False
    yield texts
    logger.removeHandler(handler)


def test_other_problems_of_the_kafka_client_are_logged_once(passed: list[str]) -> None:
    logger = logging.getLogger("aiokafka.of_a_test")
    for _ in range(20):
        logger.error('Unable connect to "%s:%s": %s', "127.0.0.1", 1, "refused")
        logger.error("Failed fetch messages from %s: %s", 1, "[Error 7] RequestTimedOutError")
    logger.error("Failed fetch messages from %s: %s", 2, "[Error 7] RequestTimedOutError")

    assert passed == [f"Failed fetch messages from {node}: [Error 7] RequestTimedOutError" for node in (1, 2)]


def test_a_problem_of_the_kafka_client_is_logged_again_after_five_minutes_and_then_held_back_again() -> None:
    noise = KafkaNoise()

    def passes(second: float) -> bool:
        record = logging.makeLogRecord({"name": "aiokafka", "msg": "Failed fetch", "created": second})
        return bool(noise.filter(record))

    assert [passes(second) for second in (1000, 1001, 1400, 1401, 1402)] == [True, False, True, False, False]


@pytest.mark.parametrize("program", ["customers-api", "favorites-api", "legacy-importer"])
async def test_a_worker_logs_an_outage_of_kafka_once(program: str, tmp_path: Path) -> None:
    file = tmp_path / "log"

    async with breaks_off() as (port, attempts), working(program, port, file):
        async with asyncio.timeout(START_SECONDS):
            while len(attempts) < 20:
                await asyncio.sleep(0.1)

    logged: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    causes = [each["cause"] for each in logged if "Kafka" in each.get("cause", "")]
    assert len(causes) == 1, causes
    assert f"Kafka at 127.0.0.1:{port} closes the connection" in causes[0]
    assert [each for each in logged if each["logger"].startswith(("aiokafka", "faststream"))] == []


@asynccontextmanager
async def breaks_off() -> AsyncIterator[tuple[int, list[None]]]:
    """A port that closes each connection, and an entry for each."""
    attempts: list[None] = []

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(None)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], attempts


@asynccontextmanager
async def working(program: str, kafka_port: int, file: Path) -> AsyncIterator[None]:
    variables = {**NOWHERE, "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka_port}"}
    with file.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).parent / program, "work"),
            env={**os.environ, **variables, "METRICS_PORT": str(ports.free_port())},
            stdout=output,
        )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)
