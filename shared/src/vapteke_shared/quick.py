"""Routes that are asked often: what they take from a request is worked out once, not anew each time."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from inspect import iscoroutinefunction
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant

from vapteke_shared import auth
from vapteke_shared.bodies import BodyRoute

_PLAIN: Final = {str, int, bool, date, datetime, UUID, NoneType}


class QuickRoute(BodyRoute):
    """Goes past FastAPI's solver where an endpoint takes the request, path parameters and headers, and no more.

    The solver takes longer than the query behind such an endpoint. What is not simply right, such as a value that does
    not validate, goes to it all the same: no answer differs.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        solve, dependant, endpoint = super().get_route_handler(), self.dependant, self.endpoint
        if self.response_field or not iscoroutinefunction(endpoint) or not _is_simple(dependant):
            return solve
        needs: list[Any] = [each.call for each in dependant.dependencies]
        path = {field.alias: field for field in dependant.path_params}
        headers = {field.alias.lower().encode(): field for field in dependant.header_params}
        defaults = {field.name: field.default for field in dependant.header_params}

        async def handle(request: Request) -> Response:
            for need in needs:
                await need(request)
            try:
                values = _read(path, request.path_params.items()) | _read(headers, request.scope["headers"])
            except _NotSimplyRight:
                return await solve(request)
            return await endpoint(request=request, **{**defaults, **values})  # type: ignore[no-any-return]

        return handle


class _NotSimplyRight(Exception):
    pass


def _is_simple(dependant: Dependant) -> bool:
    """Whether it asks for scopes, path parameters and optional headers of plain types, and for nothing else."""
    fields = [*dependant.path_params, *dependant.header_params]
    rest = replace(dependant, path_params=[], header_params=[], dependencies=[])
    simple = Dependant(call=rest.call, path=rest.path, scope=rest.scope, request_param_name="request")
    return (
        rest == simple
        and all(isinstance(each.call, auth.Needs) for each in dependant.dependencies)
        and all(_is_plain(field.field_info.annotation) for field in fields)
        and not any(field.field_info.is_required() for field in dependant.header_params)
    )


def _is_plain(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_plain, get_args(annotation)))
    return annotation in _PLAIN


def _read(fields: Mapping[Any, Any], given: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """What was given of these fields, validated. Raises _NotSimplyRight."""
    values = {}
    for key, value in given:
        if field := fields.get(key):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            read, faults = field.validate(text)
            if faults or field.name in values:
                raise _NotSimplyRight
            values[field.name] = read
    return values
