"""Routes for frequent requests: which parameters to read is determined once per route, not at every request."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from inspect import iscoroutinefunction, signature
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from starlette.types import Receive, Scope, Send

from vapteke_shared.http.access import auth
from vapteke_shared.http.body_checks import BodyRoute

_PLAIN: Final = {str, int, bool, date, datetime, UUID, NoneType}


class FastRoute(BodyRoute):
    """A route that bypasses FastAPI's dependency solver, which takes longer than the SQL query of a simple endpoint.

    The solver is bypassed only for an `async` endpoint that is annotated `-> Response`, takes nothing but `request`,
    path parameters and optional headers, and depends on nothing but required scopes. Any other endpoint works too, but
    slower. An unusual request, such as one with an invalid value, still goes through the solver. So every response is
    the same as with FastAPI alone.
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        dependant, answers = self.dependant, signature(endpoint).return_annotation
        self.is_fast = answers is Response and iscoroutinefunction(endpoint) and _is_simple(dependant)
        self._required_scopes: list[Any] = [each.call for each in dependant.dependencies]
        self._path = {field.alias: field for field in dependant.path_params}
        self._headers = {field.alias.lower().encode(): field for field in dependant.header_params}
        self._defaults = {field.name: field.default for field in dependant.header_params}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.is_fast or scope["method"] not in (self.methods or ()):
            return await super().handle(scope, receive, send)
        request = Request(scope, receive, send)
        for require in self._required_scopes:
            await require(request)
        try:
            values = _read(self._path, scope["path_params"].items()) | _read(self._headers, scope["headers"])
        except _NeedsSolver:
            return await super().handle(scope, receive, send)
        answer = await self.endpoint(request=request, **{**self._defaults, **values})
        return await answer(scope, receive, send)  # type: ignore[no-any-return]


class _NeedsSolver(Exception):
    """The request is unusual, so FastAPI's dependency solver must read its parameters."""


def _is_simple(dependant: Dependant) -> bool:
    """Whether the endpoint takes only `request`, path parameters and optional headers, both of plain types.

    The endpoint's only dependencies may be required scopes.
    """
    fields = [*dependant.path_params, *dependant.header_params]
    rest = replace(dependant, path_params=[], header_params=[], dependencies=[])
    simple = Dependant(call=rest.call, path=rest.path, scope=rest.scope, request_param_name="request")
    return (
        rest == simple
        and all(isinstance(each.call, auth.RequiredScope) for each in dependant.dependencies)
        and all(_is_plain(field.field_info.annotation) for field in fields)
        and not any(field.field_info.is_required() for field in dependant.header_params)
    )


def _is_plain(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_plain, get_args(annotation)))
    return annotation in _PLAIN


def _read(fields: Mapping[Any, Any], given: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """The validated values of the `fields` that are in `given`, by the endpoint's parameter name.

    Raises _NeedsSolver when a value is invalid or given twice.
    """
    values = {}
    for key, value in given:
        if field := fields.get(key):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            read, faults = field.validate(text)
            if faults or field.name in values:
                raise _NeedsSolver
            values[field.name] = read
    return values
