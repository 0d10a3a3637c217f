"""Middleware for every response of a REST service: HEAD, CORS, and headers for caches and browsers.

It runs outside Starlette's error handling, so that a 500 has these headers too.
"""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import Request
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vapteke_shared.http import problems
from vapteke_shared.http.head_requests import IS_HEAD

Headers = Sequence[tuple[bytes, bytes]]

EXPOSED: Final = ("ETag", "Link", "Location", "Updated-Until", "Retry-After", "WWW-Authenticate")
_SENT: Final = ("Authorization", "If-Match", "If-None-Match", "traceparent", "tracestate")
_METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
_NO_STORE: Final = (b"cache-control", b"no-store")


def wrap(app: ASGIApp, headers: Headers, origins: Sequence[str]) -> ASGIApp:
    """The app inside our middleware: responses have `headers`, and scripts on pages from `origins` may call the app.

    Without `origins` there are no CORS headers, and browsers let no page of another origin read a response.
    """
    if origins:
        app = Cors(app, allow_origins=origins, allow_methods=_METHODS, allow_headers=_SENT, expose_headers=EXPOSED)
    return Completed(app, headers)


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, but the response to a rejected preflight is a problem, like every other error."""

    def preflight_response(self, request_headers: Any) -> Response:
        answer = super().preflight_response(request_headers)
        return answer if answer.status_code == 200 else _PreflightProblem(answer)


class _PreflightProblem(Response):
    """Turns Starlette's plain-text response to a rejected preflight into a problem."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.body, answer.status_code)
        self._kept = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"The preflight is rejected: {bytes(self.body).decode()}."
        await problems.response(Request(scope), self.status_code, "cors_refused", detail, self._kept)(
            scope, receive, send
        )


class Completed:
    """Middleware that responds to HEAD as to GET but without the body, and that adds `headers` to every response.

    The app inside sees a HEAD as a GET, marked by IS_HEAD in the scope. A response without Cache-Control gets
    `no-store`, so that caches do not store it.
    """

    def __init__(self, app: ASGIApp, headers: Headers) -> None:
        self._app, self._headers = app, headers
        self._without_caches = (*headers, _NO_STORE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._completed(message.get("headers", ()))
            elif is_head:
                message["body"] = b""
            await send(message)

        await self._app({**scope, "method": "GET", IS_HEAD: True} if is_head else scope, receive, send_completed)

    def _completed(self, given: Headers) -> Headers:
        for name, _ in given:
            if name == b"cache-control":
                return [*given, *self._headers]
        return [*given, *self._without_caches]
