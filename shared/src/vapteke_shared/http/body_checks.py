"""Checks the body of a request before its fields are read: size, encoding, media type."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive

from vapteke_shared.contract.limits import BODY_BYTES
from vapteke_shared.http.access import auth
from vapteke_shared.http.problems import ProblemError


class BodyRoute(APIRoute):
    """A route that rejects a body that is too large (413), or that is encoded or not declared as JSON (415).

    A caller without the scope of the route is rejected first (403), before the body is read. An endpoint that takes no
    body gets none of these checks. FastAPI's own `max_body_size` is not used, because it responds in plain text.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            for each in self.dependant.dependencies:
                if isinstance(each.call, auth.RequiredScope):  # before the body is read or checked
                    await each.call(request)
            if int(request.headers.get("content-length", 0)) > BODY_BYTES:  # do not wait for the body
                raise _too_large()
            if _is_encoded(request):
                raise _encoded()
            request = Request(request.scope, _limited(request.receive))
            if await request.body() and not _is_json(request):
                raise ProblemError(415, "unsupported_media_type", "The body must be application/json.")
            return await handle(request)

        return checked if self.body_field else handle


def _limited(receive: Receive) -> Receive:
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > BODY_BYTES:
            raise _too_large()
        return message

    return counted


def _too_large() -> ProblemError:
    return ProblemError(413, "body_too_large", f"The body is larger than {BODY_BYTES // 1024} KiB.")


def _is_encoded(request: Request) -> bool:
    codings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    return any(coding.strip() not in ("", "identity") for coding in codings)


def _encoded() -> ProblemError:
    detail = "Send the body without Content-Encoding, or with `identity`."
    return ProblemError(415, "unsupported_media_type", detail, {"Accept-Encoding": "identity"})


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json"
