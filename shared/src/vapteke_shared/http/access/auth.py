"""Authentication and authorisation: every path that is not public requires a bearer token with its route's scope.

With AUTH_ENABLED=false nobody needs a token, and everybody has the scopes of AUTH_ANONYMOUS_SCOPES.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase
from prometheus_client import Gauge
from starlette.types import ASGIApp, Receive, Scope, Send

from vapteke_shared.contract.scopes import SCOPES
from vapteke_shared.http import problems
from vapteke_shared.http.access import callers
from vapteke_shared.http.access.callers import CHALLENGE, NO_TOKEN, Network
from vapteke_shared.http.access.tokens import Principal, TokenRefused, Verifier
from vapteke_shared.http.audit import refused_requests
from vapteke_shared.http.problems import ProblemError
from vapteke_shared.process import logs
from vapteke_shared.process.settings import AuthSettings

OFF: Final = "AUTH_ENABLED=false: everybody who can connect has the scopes of AUTH_ANONYMOUS_SCOPES, without a token"
_ENABLED = Gauge("vapteke_auth_enabled", "1: callers need a token; 0: AUTH_ENABLED=false")

log = logs.get(__name__)


class Unprotected(Exception):
    """A route neither requires a scope nor is public: add `require_scope` to it, or its path to the public paths."""


def require_scope(scope: str) -> Any:
    """A dependency for a route: callers without this scope get 403. Raises ValueError for an unknown scope.

    Put it into the route's own `dependencies`: a dependency of a dependency is not seen as the route's scope.
    """
    return Security(RequiredScope(scope), scopes=[scope])


def protect(app: FastAPI, settings: AuthSettings, audience: str, public: Collection[str]) -> None:
    """Require authentication for HTTP requests to every path except those in `public`.

    Call this once, after all routes were added. A token must be for `audience`, the name of the service, or for
    AUTH_AUDIENCE. With AUTH_ENABLED=false no token is needed, and every caller has AUTH_ANONYMOUS_SCOPES. Raises
    Unprotected when a route neither requires a scope nor is public.
    """
    unprotected = [path for path, scopes in scopes_by_path(app) if not scopes and path not in public]
    if unprotected:
        raise Unprotected(f"these paths neither require a scope nor are public: {', '.join(unprotected)}")
    _ENABLED.set(settings.auth_enabled)
    identify = _identification(settings, audience)
    app.add_middleware(Authentication, identify=identify, public=public, proxies=settings.trusted_proxies)


def _identification(settings: AuthSettings, audience: str) -> Callable[[Scope], Principal]:
    if settings.auth_enabled:
        verifier = Verifier(settings, audience)
        return lambda scope: _identified(verifier, scope)
    log.warning(OFF, scopes=settings.auth_anonymous_scopes)
    anonymous = Principal("anonymous", frozenset(settings.auth_anonymous_scopes), math.inf)
    return lambda _: anonymous


def scopes_by_path(app: FastAPI) -> Iterator[tuple[str, list[str]]]:
    """The path of every route, and the scopes that the route requires: an empty list if it requires none."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route.route, "dependant", None)
        required = [each.call for each in dependant.dependencies] if dependant else []
        yield str(route.path), [each.scope for each in required if isinstance(each, RequiredScope)]


class RequiredScope(SecurityBase):
    """A dependency that raises ProblemError (403) if the caller lacks a scope, and that adds the scope to OpenAPI.

    On a public path it raises ProblemError (401) for every caller, because callers have no principal there.
    """

    scheme_name = "bearer"
    model = HTTPBearer(bearerFormat="JWT", description="A token of `scope`s: " + ", ".join(SCOPES))

    def __init__(self, scope: str) -> None:
        if scope not in SCOPES:
            raise ValueError(f"unknown scope: {scope}")
        self.scope = scope

    async def __call__(self, request: Request) -> None:
        principal = callers.principal(request)
        if self.scope not in principal.scopes:
            challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{self.scope}"'
            holder = "AUTH_ANONYMOUS_SCOPES" if principal.expires_at == math.inf else "The token"
            detail = f"{holder} lacks the scope {self.scope}."
            raise ProblemError(403, "insufficient_scope", detail, {"WWW-Authenticate": challenge})


class Authentication:
    """Middleware that finds out who calls, and responds with 401 to a caller without a valid token.

    It puts the caller's `address` and, except on public paths, the caller's `principal` into the scope of the request.
    On public paths no token is read: even a caller with a valid token has no `principal`. With AUTH_ENABLED=false
    nobody gets 401, and every caller has the same `principal`, `anonymous`. Anything but HTTP passes unchecked.

    The middleware runs before routing, so that unauthenticated callers cannot probe which paths exist.
    """

    def __init__(
        self,
        app: ASGIApp,
        identify: Callable[[Scope], Principal],
        public: Collection[str],
        proxies: Sequence[Network],
    ) -> None:
        self._app, self._identify, self._public, self._proxies = app, identify, frozenset(public), proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["address"] = callers.address(scope, self._proxies)
        if scope["path"] not in self._public:
            try:
                scope["principal"] = self._identify(scope)
            except ProblemError as refusal:
                return await _refused(Request(scope), refusal)(scope, receive, send)
        return await self._app(scope, receive, send)


def _refused(request: Request, refusal: ProblemError) -> ASGIApp:
    refused_requests.record(request, refusal.status, refusal.code, problems.trace_id(request))
    return problems.response(request, refusal.status, refusal.code, refusal.detail, refusal.headers)


def _identified(verifier: Verifier, scope: Scope) -> Principal:
    """The principal of the request's bearer token. Raises ProblemError (401) unless there is one valid token."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        raise ProblemError(401, "token_required", NO_TOKEN, {"WWW-Authenticate": CHALLENGE})
    if len(given) > 1:
        raise _invalid("There is more than one Authorization header.")
    scheme, _, token = given[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise ProblemError(401, "token_required", NO_TOKEN, {"WWW-Authenticate": CHALLENGE})
    try:
        return verifier.principal(token.strip())
    except TokenRefused as refusal:
        raise _invalid(str(refusal)) from None


def _invalid(detail: str) -> ProblemError:
    challenge = f'{CHALLENGE}, error="invalid_token", error_description="{detail}"'
    return ProblemError(401, "invalid_token", detail, {"WWW-Authenticate": challenge})
