"""The OpenAPI document: each operation has the name of its function, and lists the problems that it may return.

A route declares only its own problems, with `responses=problems(...)`. `document` adds the general ones, such as 401.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from vapteke_shared.contract.limits import INT64_MAX
from vapteke_shared.http.problems import Problem

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION: Final = """\
Every path works with and without its trailing slash. Responses show instants in UTC to the millisecond; requests may
use any offset, and an instant without an offset is in UTC. Lists are ordered by id unless they say otherwise. They
reject unknown parameters, but ignore `_`. `HEAD` works as `GET` without the body; where `GET` starts something, `HEAD`
is 405.

Errors are RFC 9457 problems. The `code` is stable, the `trace_id` finds the request in the logs, and no text repeats
personal data. In addition to the errors of each operation, an unknown path is 404 `not_found`, and a method that the
path does not support is 405 `method_not_allowed`.
"""

_SCHEMAS: Final = "#/components/schemas/"
_MEDIA_TYPE: Final = "application/problem+json"
_MEANINGS: Final = {
    401: "The token is missing or invalid",
    403: "The token lacks the scope",
    404: "It does not exist, or it is deleted",
    409: "It conflicts with the current state",
    412: "It has changed: `If-Match` names another version",
    413: "The body is too large",
    415: "The body is not JSON, or has a `Content-Encoding`",
    422: "The request is invalid; `errors` lists the fields, at most 20",
    500: "The service failed; the `trace_id` finds the error in the logs",
    503: "The database does not answer; try again",
}
_HEADERS: Final = {
    401: {"WWW-Authenticate": "what kind of token is expected, and what is wrong with this one"},
    403: {"WWW-Authenticate": "the missing scope"},
    412: {"ETag": "the current version"},
    503: {"Retry-After": "seconds"},
}


def problems(**codes: int) -> Responses:
    """The OpenAPI responses for the problems of a route, given by code and status.

    Example: `problems(customer_not_found=404, phone_taken=409)`. Problems with the same status share one response. A
    status that is given here replaces a general response with this status, such as 503.
    """
    statuses: dict[int, list[str]] = {}
    for code, status in codes.items():
        statuses.setdefault(status, []).append(code)
    return {status: _response(status, names) for status, names in statuses.items()}


def extended(responses: Responses, **members: dict[str, Any]) -> Responses:
    """The same responses, but their problems have further required members. `members` maps names to JSON schemas."""
    more = {"type": "object", "properties": members, "required": list(members)}
    schema = {"allOf": [{"$ref": f"{_SCHEMAS}Problem"}, more]}
    return {status: {**each, "content": {_MEDIA_TYPE: {"schema": schema}}} for status, each in responses.items()}


def headers(**descriptions: str) -> dict[str, Any]:
    """The OpenAPI `headers` of a response, by name and description: `headers(Location="the customer's address")`.

    All headers are strings. An underscore in a name stands for a hyphen.
    """
    return {name.replace("_", "-"): _header(text) for name, text in descriptions.items()}


def operation_id(route: APIRoute) -> str:
    """The operation id of a route: the name of its endpoint function. For FastAPI's `generate_unique_id_function`.

    So renaming the function of an endpoint changes the published contract.
    """
    return route.name


OPTIONS: Final[dict[str, Any]] = {
    "description": DESCRIPTION,
    "openapi_url": None,
    "generate_unique_id_function": operation_id,
    "telemetry": {"tracing": False, "metrics": False, "logs": False},
}
"""Options for `FastAPI(...)` in every service. FastAPI's telemetry is off: spans contain the query, and so phones and
names."""


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the app: FastAPI's own, and for each operation the general problems that it may return.

    The document is generated at the first call; later calls return the same one, without routes that were added since.
    """
    if app.openapi_schema is None:
        made = FastAPI.openapi(app)
        made["servers"] = [{"url": "/", "description": "the service that serves this document"}]
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schema = Problem.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas.update(schema.pop("$defs"), Problem=schema)
        for operation in (each for path in made.get("paths", {}).values() for each in path.values()):
            operation["responses"] = _with_problems(operation)
        _make_whole(made)
    return app.openapi_schema or {}


def _make_whole(part: Any) -> None:
    """Turn `minimum` and `maximum` back into integers, in place and at any depth.

    FastAPI makes them floats, which cannot hold INT64_MAX exactly.
    """
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if key in ("minimum", "maximum") and isinstance(value, float) and value.is_integer():
            part[key] = min(int(value), INT64_MAX)
        else:
            _make_whole(value)


def _with_problems(operation: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = operation["responses"]
    answers = {status: each for status, each in answers.items() if "HTTPValidationError" not in str(each)}
    return dict(sorted((_general_problems(operation) | answers).items()))


def _general_problems(operation: dict[str, Any]) -> dict[str, Any]:
    """The responses for the problems that do not depend on what an endpoint does, by status as text.

    The result depends only on whether the operation requires a token, has parameters and has a body.
    """
    codes = {"internal_error": 500, "database_unavailable": 503, "busy": 503}
    if "security" in operation:
        codes |= {"token_required": 401, "invalid_token": 401, "insufficient_scope": 403}
    if "parameters" in operation or "requestBody" in operation:
        codes |= {"invalid_request": 422}
    if "requestBody" in operation:
        codes |= {"body_too_large": 413, "unsupported_media_type": 415}
    return {str(status): response for status, response in problems(**codes).items()}


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    named = ", ".join(f"`{code}`" for code in codes)
    response: dict[str, Any] = {
        "description": f"{_MEANINGS[status]}: {named}",
        "content": {_MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
    }
    if status in _HEADERS:
        response["headers"] = {name: _header(text) for name, text in _HEADERS[status].items()}
    return response


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}
