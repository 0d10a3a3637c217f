"""How a process of ours lives: it serves HTTP and works until SIGTERM or SIGINT, then stops in time."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import uvicorn

from vapteke_shared import health, logs
from vapteke_shared.settings import MetricsSettings, Settings, load

S = TypeVar("S", bound=Settings)

_GRACE_SECONDS = 10
# longer than callers and gateways keep a connection: if we closed it first, a request could cross that and be lost
_IDLE_SECONDS = 75

log = logs.get(__name__)


@asynccontextmanager
async def served(app: Callable[..., Any], host: str, port: int) -> AsyncIterator[None]:
    """Serve an ASGI app while the block runs, then let requests in hand finish; a taken port is SystemExit."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",  # we have none, and uvicorn would log the query of every attempt
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([_listen(host, port)]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror}") from None


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(kind: type[S], main: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `main(settings, stopping)` to its end; SIGTERM and SIGINT set `stopping`."""
    settings = load(kind)
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_signalled(lambda stopping: main(settings, stopping)))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # a platform without it: the standard loop serves
        return None
    return uvloop.new_event_loop


async def _until_signalled(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await main(stopping)


async def work(
    settings: MetricsSettings,
    state: health.Health,
    stopping: asyncio.Event,
    *loops: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> None:
    """Run endless loops beside the metrics' port until `stopping`; a loop that fails ends the process."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(health.create_app(state), settings.metrics_host, settings.metrics_port))
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop(stopping))
    log.info("stopped")


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until the stop."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
