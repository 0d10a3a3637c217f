"""Records of 400 MiB of zeros, compressed to a few kilobytes, in every topic that a service reads."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from running_stack import RunningStack, running_stack, verdict
from vapteke_local import people, vaptekesync
from vapteke_shared.contract import topics

SEED, COUNT = 6, 500
MEMORY_LIMIT_MIB = 384  # of each service's container in docker-compose.yml
READ = [topic.name for topic in topics.ALL if set(topic.consumers) - {"operators"}]
pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]


@pytest.fixture
async def stack() -> AsyncIterator[RunningStack]:
    rows = [tuple(person) for person in people.generate(SEED, COUNT)]
    async with vaptekesync.serve(rows) as legacy, running_stack(legacy) as stack:
        yield stack


async def test_the_import_goes_on_and_memory_stays_bounded(stack: RunningStack) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=stack["kafka"], compression_type="zstd", max_request_size=2**30, request_timeout_ms=120_000
    )
    await producer.start()
    for topic in READ:
        await producer.send_and_wait(topic, bytes(400 * 1024 * 1024), key=b"zeros", partition=0)
    await producer.stop()

    job = await stack.imported(seconds=300)

    assert verdict(job) == people.truth(SEED, COUNT)
    for name in ("customers-api work 1", "favorites-api work 1", "legacy-importer 1"):
        await stack.is_ready(name)
        assert _peak_mib(stack["processes"][name]) < MEMORY_LIMIT_MIB, name


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
