"""Endless loops under supervision: how each may end, and who notices."""

import asyncio
import os
import subprocess
import sys

import pytest
from vapteke_local.machine import ports
from vapteke_shared.process import cancellation, health, loops
from vapteke_shared.process.health import Health
from vapteke_shared.process.loops import LoopEnded
from vapteke_shared.process.shutdown import pause


async def lives(stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await pause(stopping, 0.01)


async def returns(_: asyncio.Event) -> None:
    await asyncio.sleep(0.01)


async def raises(_: asyncio.Event) -> None:
    await asyncio.sleep(0.01)
    raise ValueError


async def is_cancelled(_: asyncio.Event) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def swallows(stopping: asyncio.Event) -> None:
    """What an error that replaces CancelledError does under an `except Exception`."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    while not stopping.is_set():
        try:
            try:
                await asyncio.sleep(1)
            finally:
                raise OSError
        except Exception:
            await pause(stopping, 0.01)


@pytest.mark.parametrize(
    ("loop", "how"),
    [
        (returns, "it returned"),
        (raises, "ValueError"),
        (is_cancelled, "it was cancelled"),
        (swallows, "it was cancelled"),
    ],
)
async def test_a_loop_that_ends_by_itself_stops_the_others_and_is_reported(loop: loops.Loop, how: str) -> None:
    state, stopping = Health(), asyncio.Event()

    with pytest.raises(LoopEnded, match=f"^struck: {how}$"):
        await asyncio.wait_for(loops.run(state, stopping, 60, {"struck": loop, "beside": lives}), 10)

    assert stopping.is_set()
    assert dict(state.restart_reasons) == {"struck": f"the loop has ended: {how}"}
    assert health.live(state).status_code == 503


async def test_a_shutdown_is_not_a_fault() -> None:
    state, stopping = Health(), asyncio.Event()
    running = asyncio.create_task(loops.run(state, stopping, 60, {"one": lives, "other": lives}))
    await asyncio.sleep(0)

    stopping.set()
    await asyncio.wait_for(running, 10)

    assert dict(state.restart_reasons) == {}


async def test_a_hanging_loop_turns_liveness_red_until_it_continues() -> None:
    state, stopping, going_on = Health(), asyncio.Event(), asyncio.Event()

    async def hangs(stopping: asyncio.Event) -> None:
        await going_on.wait()
        await lives(stopping)

    running = asyncio.create_task(loops.run(state, stopping, 0.3, {"struck": hangs, "beside": lives}))
    seen = []
    for _ in range(2):
        before = dict(state.restart_reasons)
        async with asyncio.timeout(20):
            while dict(state.restart_reasons) == before:
                await asyncio.sleep(0.01)
        seen.append(dict(state.restart_reasons))
        going_on.set()
    stopping.set()
    await running

    assert seen == [{"struck": "the loop hangs"}, {}]


async def test_a_child_task_gives_no_heartbeat_for_its_loop() -> None:
    state, stopping = Health(), asyncio.Event()

    async def hangs(stopping: asyncio.Event) -> None:
        child = asyncio.create_task(lives(stopping))
        await stopping.wait()
        await child

    running = asyncio.create_task(loops.run(state, stopping, 0.3, {"struck": hangs}))
    async with asyncio.timeout(20):
        while not state.restart_reasons:
            await asyncio.sleep(0.01)
    stopping.set()
    await running


async def test_without_a_cancellation_nothing_is_raised() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)

    cancellation.reraise_cancellation()


PROGRAM = """
import asyncio
from vapteke_shared.process import lifecycle
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import MetricsSettings

async def ends(stopping):
    await asyncio.sleep(0.1)
    raise RuntimeError("a value that nobody should read")

async def main(settings, stopping):
    await lifecycle.work(settings, Health(), stopping, {"struck": ends})

lifecycle.run(MetricsSettings, main)
"""


def test_a_process_without_one_of_its_loops_ends_with_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "METRICS_PORT": str(ports.free_port())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr == "a loop has ended by itself: struck: RuntimeError\n"
    assert "a value that nobody should read" not in ended.stdout
