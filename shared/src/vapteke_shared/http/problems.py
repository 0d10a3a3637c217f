"""HTTP errors: every exception in an app becomes an RFC 9457 `application/problem+json` response."""

import random
import re
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from vapteke_shared.http import head_requests
from vapteke_shared.http.audit import refused_requests
from vapteke_shared.postgres import outages
from vapteke_shared.process import logs

_MAX_FAULTS = 20
_MAX_NAME, _MAX_PATH = 60, 500

log = logs.get(__name__)


class FieldFault(BaseModel):
    """One invalid field."""

    pointer: str = Field(
        description="JSON pointer: where (`query`, `path`, `body`), then the field", examples=["/body/email"]
    )
    detail: str = Field(description="what is wrong, without the value", examples=["This is not an e-mail address"])


class Problem(BaseModel):
    """RFC 9457 problem details. The texts never repeat personal data."""

    type: str = Field("about:blank", description="a URI that identifies the problem type", examples=["about:blank"])
    title: str = Field(description="the status in words", examples=["Unprocessable Entity"])
    status: int = Field(description="the HTTP status", examples=[422])
    detail: str = Field(description="what happened, for people", examples=["The request is invalid; see errors."])
    instance: str = Field(description="the path of the request", examples=["/rest/v1/customers/"])
    code: str = Field(description="what happened, for programs; stable", examples=["invalid_request"])
    trace_id: str = Field(description="finds this request in the logs", examples=["4bf92f3577b34da6a3ce929d0e0e4736"])
    errors: list[FieldFault] | None = Field(None, description="the invalid fields, with 422")


class ProblemError(Exception):
    """An error that the app turns into a problem response. Endpoints and the modules that they call raise it.

    `detail` is sent to the caller, so it must not repeat personal data. `extensions` are further members of the
    problem.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers, self.extensions = headers, extensions


def install(app: FastAPI, conflicts: Sequence[type[Exception]] = ()) -> None:
    """Make the app respond to every error with a problem.

    `conflicts` are the errors that concurrent writes raise after all retries. They become 503 with the code `busy`. An
    outage of Postgres becomes 503 `database_unavailable`, and any error that we do not know 500 `internal_error`.
    """
    for conflict in conflicts:
        app.add_exception_handler(conflict, _on_conflict)
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    for kind in (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        app.add_exception_handler(kind, _on_outage)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_bug)


def response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldFault] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=_shortened(request.url.path, _MAX_PATH),
        code=code,
        trace_id=trace_id(request),
        errors=list(errors) if errors else None,
    )
    content = {**problem.model_dump(exclude_none=True), **(extensions or {})}
    return JSONResponse(content, status, dict(headers or {}), media_type="application/problem+json")


def trace_id(request: Request) -> str:
    """The trace id of a request: the one in the caller's `traceparent` header (W3C), or a new one.

    All calls for the same request return the same id, so that the response and the log show the same id.
    """
    state = request.scope.setdefault("state", {})
    if "trace_id" not in state:
        given = [value for name, value in request.scope["headers"] if name == b"traceparent"]
        parent = _TRACEPARENT.fullmatch(given[0]) if given else None
        state["trace_id"] = parent[1].decode() if parent else f"{random.getrandbits(128):032x}"
    return str(state["trace_id"])


_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


_HTTP = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not support this method; the Allow header lists those it supports."),
    422: ("invalid_request", "The body is not JSON in UTF-8."),
}


async def _on_problem(request: Request, error: Any) -> Response:
    if error.status in refused_requests.STATUSES:
        refused_requests.record(request, error.status, error.code, trace_id(request))
    return response(request, error.status, error.code, error.detail, error.headers, extensions=error.extensions)


async def _on_http(request: Request, error: Any) -> Response:
    status = 422 if error.status_code == 400 else error.status_code  # FastAPI's 400: the body is not JSON
    code, detail = _HTTP.get(status, ("http_error", HTTPStatus(status).phrase))
    headers = {"Allow": ", ".join(_methods(request))} if status == 405 else error.headers
    if status == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return response(request, status, code, detail, headers)


def _methods(request: Request) -> list[str]:
    """All methods that the path of the request supports, HEAD and OPTIONS included.

    Starlette itself names only the methods of one route, but a path may have several routes.
    """
    routes = [context.route for context in iter_route_contexts(request.app.routes)]
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    named = {method for route in here for method in getattr(route, "methods", None) or ()}
    by_head = "GET" in named and all(map(head_requests.supports_head, here))
    return sorted({*named, "OPTIONS", *(["HEAD"] if by_head else [])})


async def _on_validation(request: Request, error: Any) -> Response:
    found = error.errors()
    faults = [_field_fault(fault) for fault in found[:_MAX_FAULTS]]
    more = f" There are {len(found) - _MAX_FAULTS} more." if len(found) > _MAX_FAULTS else ""
    detail = f"The request is invalid; see errors.{more}"
    return response(request, 422, "invalid_request", detail, errors=faults)


def _field_fault(fault: dict[str, Any]) -> FieldFault:
    if fault["type"] == "json_invalid":  # FastAPI puts the number of the character where the field's name would be
        location, character = fault["loc"]
        detail = f"This is not JSON: {fault['ctx']['error']} at character {character}"
        return FieldFault(pointer=f"/{location}", detail=detail)
    return FieldFault(pointer=_pointer(fault["loc"]), detail=fault["msg"])


def _pointer(location: Sequence[int | str]) -> str:
    """The JSON pointer (RFC 6901) to an invalid field. Each part is cut to 60 characters.

    Pydantic adds the branch of a union to `location`. Our branches have names in parentheses, and are left out.
    """
    parts = [_shortened(str(part), _MAX_NAME) for part in location if not str(part).startswith("(")]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def unknown_fields(names: Collection[str]) -> str:
    """The text of one fault for all unknown fields: the first 20 names, then the number of the others."""
    shown = ", ".join(_shortened(name, _MAX_NAME) for name in islice(names, _MAX_FAULTS))
    more = f" and {len(names) - _MAX_FAULTS} more" if len(names) > _MAX_FAULTS else ""
    return f"Unknown fields: {shown}{more}"


def _shortened(text: str, length: int) -> str:
    """The first `length` characters of the text, then `…` if the text was longer.

    Half a surrogate pair, which JSON may contain but UTF-8 may not, becomes `?`.
    """
    text = text[: length + 1].encode(errors="replace").decode()
    return text if len(text) <= length else text[:length] + "…"


async def _on_outage(request: Request, error: Exception) -> Response:
    """The response to an error of Postgres or the network: 503 during an outage or before `migrate`, else 500."""
    if not (outages.is_outage(error) or _is_unmigrated(request, error)):
        return await _on_bug(request, error)
    log.warning("database unavailable", trace_id=trace_id(request), error=type(error).__name__)
    detail = "The database does not answer. Nothing was changed, unless the change was already committed. Try again."
    return response(request, 503, "database_unavailable", detail, {"Retry-After": "1"})


def _is_unmigrated(request: Request, error: Exception) -> bool:
    """Whether the schema is older than the code: a table or column is missing, and Postgres is not ready."""
    missing = isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError)
    return missing and "postgres" in request.app.state.health.faults


async def _on_conflict(request: Request, error: Exception) -> Response:
    log.warning("write conflicts remain after all retries", trace_id=trace_id(request), error=type(error).__name__)
    detail = "Other requests are changing the same data. Nothing was changed. Try again."
    return response(request, 503, "busy", detail, {"Retry-After": "1"})


async def _on_disconnect(request: Request, _: Exception) -> Response:
    """The response to a caller who has disconnected before the body was complete.

    Nobody reads it, but the disconnection is not logged as a bug.
    """
    return response(request, 422, "broken_off", "The body is incomplete.")


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("unexpected error", trace_id=trace_id(request), error=type(error).__name__)
    return response(request, 500, "internal_error", "An unexpected error occurred; the trace_id finds it in the logs.")
