"""Serves an ASGI app over HTTP. At shutdown, requests that have arrived still get some seconds to finish."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from vapteke_shared.process import addresses, logs
from vapteke_shared.process.request_limits import LimitedProtocol
from vapteke_shared.process.shutdown import pause

_FADE_SECONDS = 3
_GRACE_SECONDS = 10
# longer than callers and gateways keep a connection: if we closed it first, a request on its way could be lost
_IDLE_SECONDS = 75
_PULSE_SECONDS = 1

log = logs.get(__name__)


async def serve(app: Callable[..., Any], listener: socket.socket, stopping: asyncio.Event) -> None:
    """Serve an ASGI app on `listener` until `stopping` is set, or until the server ends by itself.

    After `stopping`, no new connections are accepted, and requests on open connections get at least 10 s to finish.
    Then they are cancelled.
    """
    await _serve(app, listener, stopping, _FADE_SECONDS, _GRACE_SECONDS)


async def _serve(
    app: Callable[..., Any], listener: socket.socket, stopping: asyncio.Event, fade_seconds: float, grace_seconds: int
) -> None:
    """Serve the app until `stopping` is set or the server ends by itself. `_served` describes the two times."""
    async with _served(app, listener, fade_seconds, grace_seconds) as server:
        log.info("serving", address=listener.getsockname())
        await until_done(server, stopping)


def served(app: Callable[..., Any], host: str, port: int) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """Serve an ASGI app while the block runs. The block gets the server's task, which ends early if the server fails.

    The block must watch the task, such as with `until_done`. After the block, current requests get up to 1 s to finish.
    Raises SystemExit when the port is in use or the host is unknown or not this machine's.
    """
    return _served(app, listen(host, port), fade_seconds=0, grace_seconds=1)


@asynccontextmanager
async def _served(
    app: Callable[..., Any], listener: socket.socket, fade_seconds: float, grace_seconds: int
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve the app while the block runs; the block gets the server's task.

    After the block no new connections are accepted. For up to `fade_seconds`, each open connection is closed after its
    next response. Then idle connections are closed, and current requests get up to `grace_seconds` more before they are
    cancelled.
    """
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn trusts every process on this machine; `callers` trusts TRUSTED_PROXIES
        ws="none",  # we have no WebSockets, and uvicorn would log the query of every attempt
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
    """A socket that listens on `host` and `port`.

    Raises SystemExit when the port is in use or the host is unknown or not this machine's.
    """
    try:
        return addresses.listener(host, port)
    except OSError as error:
        raise SystemExit(f"cannot listen on {addresses.written(host, port)}: {error.strerror}") from None


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process.

    At shutdown it also serves the connections that the kernel has accepted and uvicorn has not.
    """

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
        await asyncio.sleep(0)  # afterwards the loop no longer uses the listener
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
    """Accept and return the connections that wait in the kernel's queue, and close `listener`.

    Closing the last listening socket while connections wait in the queue would reset those connections.
    """
    listener.setblocking(False)
    accepted = []
    with listener:
        while True:
            try:
                accepted.append(listener.accept()[0])
            except BlockingIOError:
                return accepted


async def until_done(server: asyncio.Task[None], stopping: asyncio.Event) -> None:
    while not (stopping.is_set() or server.done()):
        await pause(stopping, _PULSE_SECONDS)
