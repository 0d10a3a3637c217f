"""Records refused requests in the audit log. Repeated ones are summed up, so that the log stays readable in a flood.

In each second, the first refusal for each combination of subject, address, status and code gets a line. At the end of
the second, another line has the number of further refusals with that combination. Only the first 20 combinations get
lines of their own. The refusals with all others are counted in one line.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from fastapi.routing import iter_route_contexts
from prometheus_client import Counter
from starlette.routing import Match
from starlette.types import Scope

from vapteke_shared.http.audit import writer

STATUSES: Final = frozenset((401, 403, 413, 429, 431))
"""The statuses that are recorded: those that depend on who the caller is or how much the caller sends. A request that
is only invalid is not recorded."""
_EVENT: Final = "calls.refused"
_SECONDS: Final = 1
_CALLERS: Final = 20
_REFUSED = Counter("vapteke_refused_calls", "Requests that were refused", ["code"])
for _code in ("token_required", "invalid_token", "insufficient_scope"):
    _REFUSED.labels(_code)


def record(request: Request, status: int, code: str, trace_id: str) -> None:
    """Count a refused request, and write its line to the audit log or add it to a sum of this second.

    Call this only for the statuses in STATUSES: `record` does not look at them. The line has neither the token, nor the
    query, nor the values in the path. Raises AuditFailed when the line cannot be written.
    """
    _REFUSED.labels(code).inc()
    scope = request.scope
    caller = {
        "subject": getattr(scope.get("principal"), "subject", None),
        "address": scope.get("address"),
        "status": status,
        "code": code,
    }
    if _window().is_first(tuple(caller.values())):
        call = {"method": scope["method"], "path": _path(scope), "trace_id": trace_id}
        writer.write(_EVENT, {**caller, **call}, "warning")


class _Window:
    """The refusals of one second: how many got no line of their own, per caller and for the others together.

    A caller is a combination of subject, address, status and code.
    """

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + _SECONDS
        self._more: dict[tuple[Any, ...], int] = {}
        self._others = 0
        asyncio.get_running_loop().call_later(_SECONDS, self.end)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def is_first(self, caller: tuple[Any, ...]) -> bool:
        if caller in self._more:
            self._more[caller] += 1
        elif len(self._more) < _CALLERS:
            self._more[caller] = 0
            return True
        else:
            self._others += 1
        return False

    def end(self) -> None:
        """End the second now, and write a line for each number that is not zero. Safe to repeat."""
        more, others, self._more, self._others, self._ends_at = self._more, self._others, {}, 0, 0.0
        for (subject, address, status, code), count in more.items():
            _sum_up({"subject": subject, "address": address, "status": status, "code": code}, count)
        _sum_up({"subject": None, "address": None, "status": None, "code": None}, others)


def _sum_up(caller: Mapping[str, Any], count: int) -> None:
    if count:
        writer.write(_EVENT, {**caller, "more": count}, "warning")


_windows: list[_Window] = []
"""The current window, if there is one."""


def _window() -> _Window:
    """The window of the current second, made if needed. A past window is ended first.

    Usually the window's own timer has ended it already, but the timer does not fire if the event loop was closed.
    """
    if not _windows or _windows[0].is_over:
        for past in _windows:
            past.end()
        _windows[:] = [_Window()]
    return _windows[0]


def _path(scope: Scope) -> str | None:
    """The path of the request's route, with the names of the parameters instead of values. None: no route matches."""
    for context in iter_route_contexts(scope["app"].routes):
        if context.route.matches(scope)[0] is not Match.NONE:
            return str(getattr(context.route, "path_format", context.path))
    return None
