"""Size limits and deadlines for requests as they arrive. uvicorn with httptools has none.

A caller who exceeds a limit gets an RFC 9457 problem as the response, and the connection is closed 2 s later. Until
then, data that still arrives is discarded: closing a connection with unread data would reset the connection, and the
caller would not see the response.

In two cases there is no problem. If no byte of a request arrives in time, the connection is only closed. If an earlier
response is incomplete, or the response to this request has begun, the connection is aborted. A deadline starts again if
the service is slow and not the caller.
"""

import asyncio
import json
import random
from collections import deque
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vapteke_shared.contract.limits import SENT_BODY_BYTES
from vapteke_shared.process import addresses

MAX_LINE_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
MAX_PIPELINED: Final = 100
MAX_CONNECTIONS: Final = 900  # many systems allow a process 1,024 open files
HEADERS_SECONDS: Final = 10
BODY_SECONDS: Final = 30

_PIECE_BYTES = 16 * 1024  # parsed before the limits are checked again
_LINGER_SECONDS = 2

refusals = Counter("vapteke_refused_requests_total", "Requests rejected before they reached the service", ["code"])


class Refusal(NamedTuple):
    """The response to a request that exceeds a limit or is not valid HTTP."""

    status: int
    code: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def response(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        phrase = HTTPStatus(self.status).phrase
        problem = {"type": "about:blank", "title": phrase, "status": self.status, "detail": self.detail}
        problem |= {"instance": "", "code": self.code, "trace_id": f"{random.getrandbits(128):032x}"}
        body = json.dumps(problem).encode()
        headers = [
            *default_headers,
            *self.headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        lines = [f"HTTP/1.1 {self.status} {phrase}".encode(), *(name + b": " + value for name, value in headers)]
        return b"\r\n".join([*lines, b"", body])


_INVALID = Refusal(400, "bad_request", "The request is not valid HTTP.")
_TOO_SLOW = Refusal(408, "request_timeout", "The request did not arrive in time.")
_BODY_TOO_LARGE = Refusal(413, "body_too_large", f"The body as sent is larger than {SENT_BODY_BYTES // 1024} KiB.")
_LINE_TOO_LONG = Refusal(414, "uri_too_long", f"The request line is longer than {MAX_LINE_BYTES // 1024} KiB.")
_HEADERS_TOO_LARGE = Refusal(
    431, "headers_too_large", f"There are more than {MAX_HEADERS} headers or more than {MAX_HEADER_BYTES // 1024} KiB."
)
_TOO_MANY_CONNECTIONS = Refusal(
    503, "too_many_connections", "The service has too many connections; try again.", ((b"retry-after", b"1"),)
)


class _StopParsing(Exception):
    """Raised in a callback of the parser to stop parsing; uvicorn then calls `send_400_response`."""


_DISCARDED: Any = deque(maxlen=0)  # keeps nothing of what is appended


class LimitedProtocol(HttpToolsProtocol):
    """One HTTP connection, with this module's limits on each request.

    A new connection starts a timer. A later request that arrives in one piece starts none, so that the limits cost
    little.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.url, self.headers = b"", []
        self._awaits_body, self._received = False, 0
        self._fault = _INVALID
        self._earlier: list[Any] = []
        self._is_discarding = False
        self._timer: asyncio.TimerHandle | None = None
        self._timed: bool | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.client = addresses.unmapped(self.client)
        if len(self.connections) > MAX_CONNECTIONS:
            self._turn_away()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        for cycle in self._earlier:  # uvicorn notifies only the last one; a response to another would be an error
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            if self._is_discarding:
                return
            HttpToolsProtocol.data_received(self, data[start : start + _PIECE_BYTES])
            if self._awaits_body or self._awaits_headers():
                self._received += min(len(data) - start, _PIECE_BYTES)
                self._check()
            elif self._timer is not None or self.cycle.response_complete:
                self._await_nothing()
            if len(self.pipeline) > MAX_PIPELINED:
                self._refuse(_INVALID)

    def _awaits_headers(self) -> bool:
        """Whether the headers of the current request are incomplete, or no request has begun on this connection.

        uvicorn makes a request's cycle when the headers are complete.
        """
        return self.cycle is None or self.cycle.scope is not self.scope

    def _check(self) -> None:
        """Reject the arriving request if it exceeds a limit; otherwise start its deadline unless it runs already.

        The size of one piece is not counted, because the first piece may begin with the end of the previous request. So
        a body may exceed its limit by 16 KiB.
        """
        if self._is_discarding:
            return
        received = self._received - _PIECE_BYTES
        if self._awaits_body:
            fault = _BODY_TOO_LARGE if received > SENT_BODY_BYTES else None
        else:
            fault = self._fault_of_headers(received - len(self.url))
        if fault:
            self._refuse(fault)
            return
        self._watch()
        if self._awaits_body:
            self.cycle.transport = _Closing(self)  # type: ignore[assignment]

    def _fault_of_headers(self, header_bytes: int) -> Refusal | None:
        if len(self.url) > MAX_LINE_BYTES:
            return _LINE_TOO_LONG
        is_too_large = header_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS
        return _HEADERS_TOO_LARGE if is_too_large else None

    def on_headers_complete(self) -> None:
        if self._received or len(self.headers) > MAX_HEADERS:
            self._check_all_headers()
        self._earlier = [each for each in (*self._earlier, self.cycle) if each and not each.response_complete]
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = _DISCARDED  # trailers arrive the same way, but they are not headers
        self._awaits_body = True

    def _check_all_headers(self) -> None:
        self._received = 0
        if fault := self._fault_of_headers(sum(len(name) + len(value) for name, value in self.headers)):
            self._fault = fault
            raise _StopParsing

    def on_message_complete(self) -> None:
        HttpToolsProtocol.on_message_complete(self)
        self._awaits_body, self._received = False, 0

    def send_400_response(self, msg: str) -> None:
        """Reject the request. uvicorn calls this method when parsing stops: at invalid data, or at `_StopParsing`."""
        self._refuse(self._fault)

    def _await_nothing(self) -> None:
        """Stop the deadline and, if the response is complete, restart the keep-alive timer.

        uvicorn stops the keep-alive timer at any data, such as a line break or the rest of a body.
        """
        self._stop_watching()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _watch(self) -> None:
        """Start the deadline for the headers, or for the body once the headers are complete, unless it is running."""
        if self._timed is not self._awaits_body:
            self._stop_watching()
            seconds = BODY_SECONDS if self._awaits_body else HEADERS_SECONDS
            self._timed, self._timer = self._awaits_body, self.loop.call_later(seconds, self._overdue)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timed = self._timer = None

    def _overdue(self) -> None:
        self._timed = self._timer = None
        if self.flow.read_paused or self._is_answering_another():  # the service is slow, not the caller
            self._watch()
        elif not self._awaits_body and not self._received:
            self.transport.close()
        else:
            self._refuse(_TOO_SLOW)

    def _is_answering_another(self) -> bool:
        """Whether an earlier request of this connection has no complete response yet."""
        return bool(self.pipeline) or not (self._awaits_body or self.cycle is None or self.cycle.response_complete)

    def _turn_away(self) -> None:
        """Send 503 and close this new connection at once, because the process has too many connections."""
        self._is_discarding = True
        refusals.labels(_TOO_MANY_CONNECTIONS.code).inc()
        self.transport.write(_TOO_MANY_CONNECTIONS.response(self.server_state.default_headers))
        self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        self._is_discarding = True
        self._stop_watching()
        self._unset_keepalive_if_required()
        refusals.labels(refusal.code).inc()
        if self._is_answering_another() or self._has_begun_to_answer():
            self.transport.abort()
            return
        if not self._has_answered():
            self.transport.write(refusal.response(self.server_state.default_headers))
            if self.cycle is not None:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self._discard_the_rest()

    def close(self) -> None:
        """Close the connection. uvicorn calls this method after a response that ends the connection.

        If the body of the request is incomplete, the connection is closed 2 s later, and discards what arrives until
        then.
        """
        if self._awaits_body:
            self._discard_the_rest()
        else:
            self.transport.close()

    def _discard_the_rest(self) -> None:
        self._is_discarding = True
        self._stop_watching()
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _has_begun_to_answer(self) -> bool:
        return self._awaits_body and self.cycle.response_started and not self.cycle.response_complete

    def _has_answered(self) -> bool:
        return self._awaits_body and self.cycle.response_complete


class _Closing:
    """The transport of a response while the body of its request is still arriving.

    `close` discards the rest of the body first. Closing a connection with unread data would reset the connection, and
    the response would be lost.
    """

    def __init__(self, connection: LimitedProtocol) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.close
