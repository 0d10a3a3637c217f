"""The OpenAPI document: operations named as their functions, and every problem that each may answer with."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from vapteke_shared.contract.limits import INT64_MAX
from vapteke_shared.http.problems import Problem

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION: Final = """\
Every path answers with and without its trailing slash. Instants are shown in UTC to the millisecond, and read with any
offset; without one they are in UTC. Lists are ordered by id unless they say otherwise; they refuse unknown parameters,
but ignore `_`. `HEAD` answers as `GET` does, without the body; where `GET` starts something, it is not answered (405).

Errors are RFC 9457 problems: the `code` is stable, the `trace_id` finds the request in the logs, and no text repeats
personal data. Beyond those of each operation, a path that does not exist is 404 `not_found`, and a method that it does
not answer 405 `method_not_allowed`.
"""

_SCHEMAS: Final = "#/components/schemas/"
_MEDIA_TYPE: Final = "application/problem+json"
_MEANINGS: Final = {
    401: "There is no token, or it is not valid",
    403: "The token lacks the scope",
    404: "There is no such thing, or it is deleted",
    409: "It contradicts what is there",
    412: "It has changed since: `If-Match` names another version",
    413: "The body is too large",
    415: "The body is no JSON, or has a `Content-Encoding`",
    422: "The request cannot be understood; `errors` names the fields, 20 at most",
    500: "A fault of the service; the `trace_id` finds it in the logs",
    503: "The database does not answer; it may be tried again",
}
_HEADERS: Final = {
    401: {"WWW-Authenticate": "what kind of token is expected, and what is wrong with this one"},
    403: {"WWW-Authenticate": "the scope that is missing"},
    412: {"ETag": "the version that is there"},
    503: {"Retry-After": "seconds"},
}


def problems(**codes: int) -> Responses:
    """A route's own problems, by the stable `code` of each: `problems(customer_not_found=404, phone_taken=409)`."""
    statuses: dict[int, list[str]] = {}
    for code, status in codes.items():
        statuses.setdefault(status, []).append(code)
    return {status: _response(status, names) for status, names in statuses.items()}


def extended(responses: Responses, **members: dict[str, Any]) -> Responses:
    """The same problems with members of their own; each is given by its schema."""
    more = {"type": "object", "properties": members, "required": list(members)}
    schema = {"allOf": [{"$ref": f"{_SCHEMAS}Problem"}, more]}
    return {status: {**each, "content": {_MEDIA_TYPE: {"schema": schema}}} for status, each in responses.items()}


def headers(**descriptions: str) -> dict[str, Any]:
    """A response's `headers`, all of them texts: `headers(Location="where the customer is")`."""
    return {name.replace("_", "-"): _header(text) for name, text in descriptions.items()}


def operation_id(route: APIRoute) -> str:
    """For FastAPI's `generate_unique_id_function`."""
    return route.name


OPTIONS: Final[dict[str, Any]] = {
    "description": DESCRIPTION,
    "openapi_url": None,
    "generate_unique_id_function": operation_id,
    "telemetry": {"tracing": False, "metrics": False, "logs": False},
}
"""For `FastAPI(...)` of every service. Its own telemetry is off: spans hold the query, and so phones and names."""


def document(app: FastAPI) -> dict[str, Any]:
    """FastAPI's own document, with the problems that need no saying at each route. Made once."""
    if app.openapi_schema is None:
        made = FastAPI.openapi(app)
        made["servers"] = [{"url": "/", "description": "the service that shows this"}]
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
    """Bounds of integers as integers: FastAPI makes floats of them, and the greatest int64 is none."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if key in ("minimum", "maximum") and isinstance(value, float) and value.is_integer():
            part[key] = min(int(value), INT64_MAX)
        else:
            _make_whole(value)


def _with_problems(operation: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = operation["responses"]
    answers = {status: each for status, each in answers.items() if "HTTPValidationError" not in str(each)}
    return dict(sorted((_everywhere(operation) | answers).items()))


def _everywhere(operation: dict[str, Any]) -> dict[str, Any]:
    """What any operation of this kind may answer with."""
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
