"""How a process of ours lives: it serves HTTP and works until SIGTERM or SIGINT, then stops in time.

The stop has its own clock: at once nothing new is begun, and what is in hand may end. After 12 s what still waits for
Postgres is cut off, after 15 s whatever has not ended: every effect is a transaction, so it is done or untouched. After
22 s the process ends itself, whatever hangs.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import uvicorn

from vapteke_shared.process import addresses, health, logs, loops
from vapteke_shared.process.loops import Loop, LoopEnded
from vapteke_shared.process.request_limits import LimitedProtocol
from vapteke_shared.process.settings import MetricsSettings, Settings, load

S = TypeVar("S", bound=Settings)

_FADE_SECONDS = 3
_GRACE_SECONDS = 10
_LOOP_SECONDS = 15
_LAST_SECONDS = 22
# longer than callers and gateways keep a connection: if we closed it first, a request could cross that and be lost
_IDLE_SECONDS = 75
_PULSE_SECONDS = 1

log = logs.get(__name__)


async def serve(app: Callable[..., Any], listener: socket.socket, stopping: asyncio.Event) -> None:
    """Serve an ASGI app until `stopping`, and then so that no caller notices the end."""
    await _serve(app, listener, stopping, _FADE_SECONDS, _GRACE_SECONDS)


async def _serve(
    app: Callable[..., Any], listener: socket.socket, stopping: asyncio.Event, fade_seconds: float, grace_seconds: int
) -> None:
    """Returns early when the server ends by itself."""
    async with _served(app, listener, fade_seconds, grace_seconds) as server:
        log.info("serving", address=listener.getsockname())
        await _until_done(server, stopping)


def served(app: Callable[..., Any], host: str, port: int) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """Serve an ASGI app while the block runs; a taken port is SystemExit."""
    return _served(app, listen(host, port), fade_seconds=0, grace_seconds=1)


@asynccontextmanager
async def _served(
    app: Callable[..., Any], listener: socket.socket, fade_seconds: float, grace_seconds: int
) -> AsyncIterator[asyncio.Task[None]]:
    """At the end no new connections are accepted. For `fade_seconds` those that are kept alive are told to end with
    their next answer; then the idle ones are closed, and requests in hand have `grace_seconds` more."""
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn believes every process of this machine; `callers` believes TRUSTED_PROXIES
        ws="none",  # we have none, and uvicorn would log the query of every attempt
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
    )
    server = _Server(config, listener.dup(), fade_seconds)
    task = asyncio.create_task(server.serve([listener]), name=f"server of {listener.getsockname()}")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield task
    finally:
        server.should_exit = True
        await task


def listen(host: str, port: int) -> socket.socket:
    """A taken port, and a host that is not this machine's, are SystemExit."""
    try:
        return addresses.listener(host, port)
    except OSError as error:
        raise SystemExit(f"cannot listen on {addresses.written(host, port)}: {error.strerror}") from None


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it is a part of, and lets nobody down whose connection was accepted."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, fade_seconds: float) -> None:
        super().__init__(config)
        self._listener, self._fade_seconds = listener, fade_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.default_headers.append((b"connection", b"close"))
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)  # by now the loop has let go of the listener
        for connection in _queued(self._listener):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await self._fade()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    async def _fade(self) -> None:
        clock = asyncio.get_running_loop()
        end = clock.time() + self._fade_seconds
        while self.server_state.connections and clock.time() < end:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.05)


def _queued(listener: socket.socket) -> list[socket.socket]:
    """What the kernel has accepted for us: closing the last copy of the listener would reset it."""
    listener.setblocking(False)
    accepted = []
    with listener:
        while True:
            try:
                accepted.append(listener.accept()[0])
            except BlockingIOError:
                return accepted


def run(kind: type[S], main: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `main(settings, stopping)` to its end; SIGTERM and SIGINT set `stopping`. A loop that ends is SystemExit."""
    settings = load(kind)
    logs.configure(settings.log_level)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_until_signalled(lambda stopping: main(settings, stopping)))
        except LoopEnded as error:
            raise SystemExit(f"a loop has ended by itself: {error}") from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # a platform without it: the standard loop serves
        return None
    return uvloop.new_event_loop


async def _until_signalled(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ending = asyncio.create_task(_end_in_time(loop, stopping), name="end in time")
    try:
        await main(stopping)
    finally:
        ending.cancel()


async def _end_in_time(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    await stopping.wait()
    _end_at_last(loop)


def _end_at_last(loop: asyncio.AbstractEventLoop) -> None:
    """Threads of their own: the loop may hang, a thread that the interpreter waits for at its end, and whoever should
    read what we log."""

    def tell() -> None:
        try:
            hanging = sorted({getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks(loop)})
            log.error(f"did not stop in time: {', '.join(hanging) or 'threads'}")
        finally:
            os._exit(1)

    for seconds, end in ((_LAST_SECONDS, tell), (_LAST_SECONDS + 1, lambda: os._exit(1))):
        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()


async def work(
    settings: MetricsSettings,
    state: health.Health,
    stopping: asyncio.Event,
    named: Mapping[str, Loop],
) -> None:
    """Run endless loops beside the metrics' port until `stopping`. Raises LoopEnded when one ends by itself."""
    async with served(health.create_app(state), settings.metrics_host, settings.metrics_port) as metrics:
        in_time = {name: partial(_in_time, name, loop) for name, loop in named.items()}
        watched = {"metrics": partial(_until_done, metrics), **in_time}
        await loops.run(state, stopping, settings.liveness_seconds, watched)
    log.info("stopped")


async def _until_done(server: asyncio.Task[None], stopping: asyncio.Event) -> None:
    while not (stopping.is_set() or server.done()):
        await pause(stopping, _PULSE_SECONDS)


async def _in_time(name: str, loop: Loop, stopping: asyncio.Event) -> None:
    try:
        async with limited(stopping, _LOOP_SECONDS):
            await loop(stopping)
    except CutShort:
        log.warning("cut short: it had not ended in time", loop=name)


class CutShort(Exception):
    """The process stops, and the time for this is over."""


@asynccontextmanager
async def limited(stopping: asyncio.Event, seconds: float) -> AsyncIterator[None]:
    """Cancel the block `seconds` after the stop, and raise CutShort."""
    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(_limit_at_stop(limit, stopping, seconds), name="limit at the stop")
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        raise CutShort from None


async def _limit_at_stop(limit: asyncio.Timeout, stopping: asyncio.Event, seconds: float) -> None:
    await stopping.wait()
    limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until the stop; between the rounds of a loop it is the loop's heartbeat, too."""
    loops.beat(seconds)
    with suppress(TimeoutError):  # not wait_for, which before Python 3.12 may swallow a cancellation
        async with asyncio.timeout(seconds):
            await stopping.wait()
