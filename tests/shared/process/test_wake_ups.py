"""A pause that another part of the process may end."""

import asyncio

import pytest
from vapteke_shared.process.wake_ups import WakeUp

NEVER = 3600.0
SOON = 60.0


@pytest.fixture
def wake_up() -> WakeUp:
    return WakeUp()


async def asleep(wake_up: WakeUp, stopping: asyncio.Event) -> "asyncio.Task[None]":
    """A task that has begun to pause."""
    pausing = asyncio.create_task(wake_up.pause(stopping, NEVER))
    await asyncio.sleep(0.05)
    assert not pausing.done()
    return pausing


async def test_a_call_ends_the_pause(wake_up: WakeUp) -> None:
    pausing = await asleep(wake_up, asyncio.Event())

    wake_up.call()
    wake_up.call()

    await asyncio.wait_for(pausing, SOON)


async def test_a_call_between_two_pauses_skips_the_next_one_alone(wake_up: WakeUp) -> None:
    wake_up.call()
    wake_up.call()

    await asyncio.wait_for(wake_up.pause(asyncio.Event(), NEVER), SOON)

    again = await asleep(wake_up, asyncio.Event())
    again.cancel()


async def test_a_shutdown_ends_the_pause(wake_up: WakeUp) -> None:
    stopping = asyncio.Event()
    pausing = await asleep(wake_up, stopping)

    stopping.set()

    await asyncio.wait_for(pausing, SOON)


async def test_without_a_call_the_pause_takes_its_time(wake_up: WakeUp) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    await wake_up.pause(asyncio.Event(), 0.1)

    assert loop.time() - started >= 0.1


async def test_a_call_in_the_moment_in_which_the_pause_ends_is_not_lost(wake_up: WakeUp) -> None:
    """The call comes when the time is up, but the pausing task has not run yet."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for _ in range(200):
        loop.call_later(0.001, wake_up.call)
        await wake_up.pause(stopping, 0.001)
        wake_up.call()

        await asyncio.wait_for(wake_up.pause(stopping, NEVER), SOON)


async def test_a_cancelled_pause_does_not_keep_later_calls_from_working(wake_up: WakeUp) -> None:
    pausing = await asleep(wake_up, asyncio.Event())
    pausing.cancel()
    await asyncio.wait([pausing])

    wake_up.call()

    await asyncio.wait_for(wake_up.pause(asyncio.Event(), NEVER), SOON)
